/* cuBLASLt for the stand-in device: it can be opened and does nothing. See device.c. */
#include "device.h"

int cublasLtCreate(void **handle) {
    static int opened;
    *handle = &opened;
    return 0;
}

int cublasLtDestroy(void *handle) {
    (void)handle;
    return 0;
}

#define LACKS(name) \
    int name(void) { return device_lacks(#name), 15; }

LACKS(cublasLtMatmul)
LACKS(cublasLtMatmulAlgoConfigSetAttribute)
LACKS(cublasLtMatmulAlgoGetHeuristic)
LACKS(cublasLtMatmulAlgoInit)
LACKS(cublasLtMatmulDescCreate)
LACKS(cublasLtMatmulDescDestroy)
LACKS(cublasLtMatmulDescSetAttribute)
LACKS(cublasLtMatmulPreferenceCreate)
LACKS(cublasLtMatmulPreferenceDestroy)
LACKS(cublasLtMatmulPreferenceSetAttribute)
LACKS(cublasLtMatrixLayoutCreate)
LACKS(cublasLtMatrixLayoutDestroy)
LACKS(cublasLtMatrixLayoutSetAttribute)
LACKS(cublasLtMatrixTransform)
LACKS(cublasLtMatrixTransformDescCreate)
LACKS(cublasLtMatrixTransformDescDestroy)
