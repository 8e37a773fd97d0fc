/* What the provider takes from CUDA's driver library, for the stand-in device: nothing that is used here. See device.c. */

int cuTensorMapEncodeTiled(void) { return 801; }
