/* cuBLAS for the stand-in device: products of FP32 matrices in a stream, by the definition. See device.c. */
#include "device.h"

#include <stdbool.h>
#include <stdlib.h>

struct handle {
    void *stream;
    int mode;
};

int cublasCreate_v2(struct handle **handle) {
    *handle = calloc(1, sizeof **handle);
    return *handle != NULL ? 0 : 3;
}

int cublasDestroy_v2(struct handle *handle) {
    free(handle);
    return 0;
}

int cublasSetStream_v2(struct handle *handle, void *stream) {
    handle->stream = stream;
    return 0;
}

int cublasGetMathMode(struct handle *handle, int *mode) {
    *mode = handle->mode;
    return 0;
}

int cublasSetMathMode(struct handle *handle, int mode) {
    handle->mode = mode;
    return 0;
}

const char *cublasGetStatusName(int status) { return status == 0 ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_NOT_SUPPORTED"; }

const char *cublasGetStatusString(int status) { return cublasGetStatusName(status); }

/* C = alpha op(A) op(B) + beta C, by columns: C is m x n, op(A) m x k, op(B) k x n. */
struct product {
    bool transpose_a, transpose_b;
    int m, n, k;
    float alpha, beta;
    const float *a, *b;
    float *c;
    int lda, ldb, ldc;
};

static void multiply(void *arguments) {
    struct product *p = arguments;
    const float *a = device_alias(p->a), *b = device_alias(p->b);
    float *c = device_alias(p->c);
    for (int column = 0; column < p->n; column++) {
        for (int row = 0; row < p->m; row++) {
            float sum = 0;
            for (int inner = 0; inner < p->k; inner++) {
                float left = p->transpose_a ? a[(size_t)row * p->lda + inner] : a[(size_t)inner * p->lda + row];
                float right = p->transpose_b ? b[(size_t)inner * p->ldb + column] : b[(size_t)column * p->ldb + inner];
                sum += left * right;
            }
            float *at = &c[(size_t)column * p->ldc + row];
            /* What C holds does not count where beta is 0, a NaN included. */
            *at = p->alpha * sum + (p->beta == 0 ? 0 : p->beta * *at);
        }
    }
}

int cublasSgemm_v2(struct handle *handle, int op_a, int op_b, int m, int n, int k, const float *alpha, const float *a,
                   int lda, const float *b, int ldb, const float *beta, float *c, int ldc) {
    struct product product = {op_a != 0, op_b != 0, m, n, k, *alpha, *beta, a, b, c, lda, ldb, ldc};
    device_report->products++;
    /* CUBLAS_STATUS_EXECUTION_FAILED */
    return device_enqueue(handle->stream, multiply, &product, sizeof product) == 0 ? 0 : 13;
}

int cublasGemmEx(struct handle *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a,
                 int type_a, int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc,
                 int compute, int algorithm) {
    (void)compute, (void)algorithm;
    /* 0 is CUDA_R_32F. */
    if (type_a != 0 || type_b != 0 || type_c != 0) return device_lacks("cublasGemmEx of other types than FP32"), 15;
    return cublasSgemm_v2(handle, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

#define LACKS(name) \
    int name(void) { return device_lacks(#name), 15; }

LACKS(cublasDgeam)
LACKS(cublasDgemmBatched)
LACKS(cublasDgemmStridedBatched)
LACKS(cublasDgemm_v2)
LACKS(cublasDgetrfBatched)
LACKS(cublasDgetriBatched)
LACKS(cublasGemmBatchedEx)
LACKS(cublasGemmStridedBatchedEx)
LACKS(cublasScopy_v2)
LACKS(cublasSgeam)
LACKS(cublasSgemmBatched)
LACKS(cublasSgemmStridedBatched)
LACKS(cublasSgetrfBatched)
LACKS(cublasSgetriBatched)
LACKS(cublasSscal_v2)
