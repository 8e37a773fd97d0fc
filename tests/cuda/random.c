/* cuRAND for the stand-in device: the provider opens the library and takes nothing from it. See device.c. */

extern int stand_in_has_no_random_numbers;
int stand_in_has_no_random_numbers = 1;
