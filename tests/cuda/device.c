/* A stand-in for a CUDA device, so that ONNX Runtime's real CUDA provider runs where there is none.
 *
 * It is the CUDA runtime's interface, as far as the provider uses it for matrix products and a few kernels, on the CPU.
 * It is slow on purpose and strict where a real device is only sometimes:
 *
 * - Device memory cannot be touched by the host: its addresses are of pages without any access, and the work of the
 *   device goes to a second mapping. A server that reads a device's pointer dies here.
 * - Work is done as late as CUDA allows: not before somebody waits for its stream. What a server overwrites too early in
 *   page-locked memory arrives overwritten. Copies from other memory are taken at once, as CUDA takes them.
 * - Memory that is freed, or not yet written, holds 0xFF (a NaN).
 * - A fault stays: after one, every call fails until the process ends, as with a real device's context. Tests order one in the
 *   report below, or for every process by STAND_IN_CUDA_FAULT.
 *
 * What is not there says so on standard error and fails with "not supported".
 *
 * Layouts of structures are those of CUDA 13; the names and signatures are those of NVIDIA's documentation of its runtime.
 */
#define _GNU_SOURCE
#include "device.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY_LEN ((size_t)4 << 30)
#define BLOCK_ALIGN ((size_t)512)
#define DEVICES 1

struct work {
    struct work *next;
    work_fn run;
    uint64_t number;
    char arguments[WORK_ARGUMENTS_MAX] __attribute__((aligned(16)));
};

struct stream {
    struct work *first, **last;
    uint64_t queued, done;
    struct stream *next;
};

struct event {
    struct stream *stream;
    uint64_t number;
};

struct block {
    struct block *next;
    size_t offset, len;
};

struct range {
    struct range *next;
    char *start;
    size_t len;
};

struct report *device_report;

static pthread_mutex_t lock;
static char *device_start, *host_start;
static struct block *blocks;
static struct range *pinned;
static struct stream default_stream = {.last = &default_stream.first};
static struct stream *streams;
static _Thread_local int last_error;

__attribute__((constructor(101))) static void start(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    /* Work may wait for the work of another stream. */
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &attributes);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    device_start = mmap(NULL, MEMORY_LEN, PROT_NONE, flags, -1, 0);
    host_start = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (device_start == MAP_FAILED || host_start == MAP_FAILED) {
        perror("stand-in CUDA device: mmap");
        abort();
    }
    static struct report unseen;
    device_report = &unseen;
    const char *path = getenv("STAND_IN_CUDA_REPORT");
    if (path == NULL) return;
    char of_process[4096];
    snprintf(of_process, sizeof of_process, "%s.%d", path, (int)getpid());
    int file = open(of_process, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof(struct report)) != 0) return;
    void *mapped = mmap(NULL, sizeof(struct report), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) device_report = mapped;
    close(file);
}

__attribute__((constructor(102))) static void obey(void) {
    const char *fault = getenv("STAND_IN_CUDA_FAULT");
    if (fault != NULL) device_report->fault = strtoull(fault, NULL, 10);
}

int device_lacks(const char *what) {
    fprintf(stderr, "stand-in CUDA device: %s is not there\n", what);
    return last_error = NOT_SUPPORTED;
}

/* The result of a call: the fault, if there is one. */
static int result(int code) {
    int fault = (int)device_report->fault;
    if (fault != 0) code = fault;
    if (code != SUCCESS) last_error = code;
    return code;
}

static bool is_device(const void *at) {
    return (const char *)at >= device_start && (const char *)at < device_start + MEMORY_LEN;
}

static bool is_pinned(const void *at) {
    for (struct range *range = pinned; range != NULL; range = range->next)
        if ((const char *)at >= range->start && (const char *)at < range->start + range->len) return true;
    return false;
}

void *device_alias(const void *at) {
    return is_device(at) ? host_start + ((const char *)at - device_start) : (void *)(uintptr_t)at;
}

/* ---- streams ---- */

static void finish(struct stream *stream, uint64_t number) {
    while (stream->first != NULL && stream->done < number) {
        struct work *work = stream->first;
        stream->first = work->next;
        if (stream->first == NULL) stream->last = &stream->first;
        work->run(work->arguments);
        stream->done = work->number;
        free(work);
    }
}

static void finish_all(void) {
    for (struct stream *stream = streams; stream != NULL; stream = stream->next) finish(stream, UINT64_MAX);
    finish(&default_stream, UINT64_MAX);
}

int device_enqueue(void *of, work_fn run, const void *arguments, size_t len) {
    if (len > WORK_ARGUMENTS_MAX) return device_lacks("room for arguments");
    if (result(SUCCESS) != SUCCESS) return last_error;
    struct stream *stream = of != NULL ? of : &default_stream;
    struct work *work = calloc(1, sizeof *work);
    if (work == NULL) return OUT_OF_MEMORY;
    work->run = run;
    memcpy(work->arguments, arguments, len);
    pthread_mutex_lock(&lock);
    work->number = ++stream->queued;
    *stream->last = work;
    stream->last = &work->next;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

int cudaStreamCreateWithFlags(void **stream, unsigned flags) {
    (void)flags;
    if (result(SUCCESS) != SUCCESS) return last_error;
    struct stream *made = calloc(1, sizeof *made);
    if (made == NULL) return result(OUT_OF_MEMORY);
    made->last = &made->first;
    pthread_mutex_lock(&lock);
    made->next = streams;
    streams = made;
    device_report->streams++;
    pthread_mutex_unlock(&lock);
    *stream = made;
    return SUCCESS;
}

int cudaStreamCreate(void **stream) { return cudaStreamCreateWithFlags(stream, 0); }

int cudaStreamDestroy(void *of) {
    pthread_mutex_lock(&lock);
    finish(of, UINT64_MAX);
    for (struct stream **at = &streams; *at != NULL; at = &(*at)->next) {
        if (*at != of) continue;
        *at = (*at)->next;
        device_report->streams--;
        /* Events may still know it, so it is not freed. */
        break;
    }
    pthread_mutex_unlock(&lock);
    return result(SUCCESS);
}

int cudaStreamSynchronize(void *of) {
    pthread_mutex_lock(&lock);
    finish(of != NULL ? of : &default_stream, UINT64_MAX);
    pthread_mutex_unlock(&lock);
    return result(SUCCESS);
}

int cudaDeviceSynchronize(void) {
    pthread_mutex_lock(&lock);
    finish_all();
    pthread_mutex_unlock(&lock);
    return result(SUCCESS);
}

int cudaEventCreateWithFlags(void **event, unsigned flags) {
    (void)flags;
    *event = calloc(1, sizeof(struct event));
    return result(*event != NULL ? SUCCESS : OUT_OF_MEMORY);
}

int cudaEventCreate(void **event) { return cudaEventCreateWithFlags(event, 0); }

int cudaEventDestroy(void *event) {
    free(event);
    return result(SUCCESS);
}

int cudaEventRecord(void *of, void *stream) {
    struct event *event = of;
    pthread_mutex_lock(&lock);
    event->stream = stream != NULL ? stream : &default_stream;
    event->number = event->stream->queued;
    pthread_mutex_unlock(&lock);
    return result(SUCCESS);
}

int cudaEventRecordWithFlags(void *event, void *stream, unsigned flags) {
    (void)flags;
    return cudaEventRecord(event, stream);
}

int cudaEventSynchronize(void *of) {
    struct event *event = of;
    pthread_mutex_lock(&lock);
    if (event->stream != NULL) finish(event->stream, event->number);
    pthread_mutex_unlock(&lock);
    return result(SUCCESS);
}

static void wait_for(void *arguments) {
    struct event *event = arguments;
    if (event->stream != NULL) finish(event->stream, event->number);
}

int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) {
    (void)flags;
    return device_enqueue(stream, wait_for, event, sizeof(struct event));
}

int cudaEventElapsedTime(float *milliseconds, void *from, void *to) {
    (void)from, (void)to;
    *milliseconds = 0;
    return result(SUCCESS);
}

struct host_call {
    void (*function)(void *);
    void *argument;
};

static void call_host(void *arguments) {
    struct host_call *call = arguments;
    call->function(call->argument);
}

int cudaLaunchHostFunc(void *stream, void (*function)(void *), void *argument) {
    struct host_call call = {function, argument};
    return device_enqueue(stream, call_host, &call, sizeof call);
}

int cudaStreamIsCapturing(void *stream, int *is) {
    (void)stream;
    *is = 0;
    return result(SUCCESS);
}

/* ---- memory ---- */

int cudaMalloc(void **at, size_t len) {
    if (result(SUCCESS) != SUCCESS) return last_error;
    size_t wanted = (len + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    size_t max = device_report->bytes_max != 0 ? device_report->bytes_max : MEMORY_LEN;
    pthread_mutex_lock(&lock);
    size_t offset = 0;
    struct block **place = &blocks;
    for (; *place != NULL && (*place)->offset - offset < wanted; place = &(*place)->next)
        offset = (*place)->offset + (*place)->len;
    struct block *made = NULL;
    if (offset + wanted <= MEMORY_LEN && device_report->bytes_used + wanted <= max) made = calloc(1, sizeof *made);
    if (made != NULL) {
        *made = (struct block){*place, offset, wanted};
        *place = made;
        *at = device_start + offset;
        memset(host_start + offset, 0xFF, wanted);
        device_report->bytes_used += wanted;
        if (device_report->bytes_used > device_report->bytes_used_max)
            device_report->bytes_used_max = (uint64_t)device_report->bytes_used;
    }
    pthread_mutex_unlock(&lock);
    return result(made != NULL ? SUCCESS : OUT_OF_MEMORY);
}

int cudaFree(void *at) {
    if (at == NULL) return result(SUCCESS);
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    finish_all();
    for (struct block **place = &blocks; *place != NULL; place = &(*place)->next) {
        struct block *block = *place;
        if (device_start + block->offset != at) continue;
        memset(host_start + block->offset, 0xFF, block->len);
        madvise(host_start + block->offset, block->len, MADV_DONTNEED);
        device_report->bytes_used -= block->len;
        *place = block->next;
        free(block);
        code = SUCCESS;
        break;
    }
    pthread_mutex_unlock(&lock);
    return result(code);
}

int cudaHostAlloc(void **at, size_t len, unsigned flags) {
    (void)flags;
    if (result(SUCCESS) != SUCCESS) return last_error;
    struct range *made = calloc(1, sizeof *made);
    char *start = aligned_alloc(4096, (len + 4095) / 4096 * 4096);
    if (made == NULL || start == NULL) return result(OUT_OF_MEMORY);
    memset(start, 0xFF, len);
    pthread_mutex_lock(&lock);
    *made = (struct range){pinned, start, len};
    pinned = made;
    device_report->pinned_bytes += len;
    pthread_mutex_unlock(&lock);
    *at = start;
    return SUCCESS;
}

int cudaMallocHost(void **at, size_t len) { return cudaHostAlloc(at, len, 0); }

int cudaFreeHost(void *at) {
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    finish_all();
    for (struct range **place = &pinned; *place != NULL; place = &(*place)->next) {
        struct range *range = *place;
        if (range->start != at) continue;
        device_report->pinned_bytes -= range->len;
        *place = range->next;
        free(range->start);
        free(range);
        code = SUCCESS;
        break;
    }
    pthread_mutex_unlock(&lock);
    return result(code);
}

struct copy {
    void *to;
    const void *from;
    size_t len;
    bool owns_from;
};

static void copy_now(void *arguments) {
    struct copy *copy = arguments;
    memcpy(device_alias(copy->to), device_alias(copy->from), copy->len);
    if (copy->owns_from) free((void *)(uintptr_t)copy->from);
}

int cudaMemcpyAsync(void *to, const void *from, size_t len, int kind, void *stream) {
    (void)kind;
    if (result(SUCCESS) != SUCCESS) return last_error;
    struct copy copy = {to, from, len, false};
    if (!is_device(from) && is_device(to)) {
        pthread_mutex_lock(&lock);
        bool from_pinned = is_pinned(from);
        pthread_mutex_unlock(&lock);
        if (from_pinned) {
            device_report->copies_pinned++;
            device_report->copied_pinned += len;
        } else {
            device_report->copies_pageable++;
            void *taken = malloc(len);
            if (taken == NULL) return result(OUT_OF_MEMORY);
            memcpy(taken, from, len);
            copy = (struct copy){to, taken, len, true};
        }
        return device_enqueue(stream, copy_now, &copy, sizeof copy);
    }
    int code = device_enqueue(stream, copy_now, &copy, sizeof copy);
    if (code != SUCCESS || is_device(to)) return code;
    pthread_mutex_lock(&lock);
    bool to_pinned = is_pinned(to);
    pthread_mutex_unlock(&lock);
    return to_pinned ? code : cudaStreamSynchronize(stream);
}

int cudaMemcpy(void *to, const void *from, size_t len, int kind) {
    (void)kind;
    cudaDeviceSynchronize();
    struct copy copy = {to, from, len, false};
    copy_now(&copy);
    return result(SUCCESS);
}

struct fill {
    void *at;
    int value;
    size_t len;
};

static void fill_now(void *arguments) {
    struct fill *fill = arguments;
    memset(device_alias(fill->at), fill->value, fill->len);
}

int cudaMemsetAsync(void *at, int value, size_t len, void *stream) {
    struct fill fill = {at, value, len};
    return device_enqueue(stream, fill_now, &fill, sizeof fill);
}

int cudaMemset(void *at, int value, size_t len) {
    cudaDeviceSynchronize();
    struct fill fill = {at, value, len};
    fill_now(&fill);
    return result(SUCCESS);
}

int cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *total = device_report->bytes_max != 0 ? device_report->bytes_max : MEMORY_LEN;
    size_t used = device_report->bytes_used;
    *free_bytes = *total > used ? *total - used : 0;
    return result(SUCCESS);
}

struct pointer_attributes {
    int type, device;
    void *device_pointer, *host_pointer;
    long reserved[8];
};

int cudaPointerGetAttributes(struct pointer_attributes *attributes, const void *at) {
    pthread_mutex_lock(&lock);
    /* Unregistered, of the host, of the device. */
    int type = is_device(at) ? 2 : is_pinned(at) ? 1 : 0;
    pthread_mutex_unlock(&lock);
    *attributes = (struct pointer_attributes){.type = type};
    if (type != 1) attributes->device_pointer = (void *)(uintptr_t)at;
    if (type != 2) attributes->host_pointer = (void *)(uintptr_t)at;
    return result(SUCCESS);
}

/* ---- the device ---- */

int cudaGetDeviceCount(int *count) {
    *count = DEVICES;
    return result(SUCCESS);
}

int cudaGetDevice(int *device) {
    *device = 0;
    return result(SUCCESS);
}

int cudaSetDevice(int device) { return result(device >= 0 && device < DEVICES ? SUCCESS : INVALID_DEVICE); }

int cudaDriverGetVersion(int *version) {
    *version = 13000;
    return result(SUCCESS);
}

int cudaRuntimeGetVersion(int *version) { return cudaDriverGetVersion(version); }

/* `cudaDeviceProp` has 1008 bytes; the offsets are those of CUDA 13. */
int cudaGetDeviceProperties(char *properties, int device) {
    if (device < 0 || device >= DEVICES) return result(INVALID_DEVICE);
    memset(properties, 0, 1008);
    strcpy(properties, "stand-in");
    *(size_t *)(properties + 288) = MEMORY_LEN;
    *(size_t *)(properties + 296) = 48 << 10; /* shared memory of a block */
    *(int *)(properties + 304) = 65536;       /* registers of a block */
    *(int *)(properties + 308) = 32;          /* threads of a warp */
    *(int *)(properties + 320) = 1024;        /* threads of a block */
    for (int axis = 0; axis < 3; axis++) *(int *)(properties + 324 + 4 * axis) = axis < 2 ? 1024 : 64;
    for (int axis = 0; axis < 3; axis++) *(int *)(properties + 336 + 4 * axis) = axis == 0 ? 0x7FFFFFFF : 65535;
    *(int *)(properties + 360) = 8; /* compute capability 8.0 */
    *(int *)(properties + 384) = 4; /* multiprocessors */
    *(int *)(properties + 588) = 1; /* one address space with the host */
    *(int *)(properties + 604) = 2048;
    *(size_t *)(properties + 624) = 100 << 10;
    *(size_t *)(properties + 672) = 99 << 10;
    *(int *)(properties + 688) = 16;
    return result(SUCCESS);
}

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    static const struct {
        int attribute, value;
    } known[] = {
        {1, 1024}, /* threads of a block */ {8, 48 << 10}, /* its shared memory */
        {10, 32},  /* threads of a warp */ {16, 4},        /* multiprocessors */
        {39, 2048}, {75, 8}, /* compute capability 8.0 */ {76, 0}, {81, 100 << 10}, {82, 65536}, {97, 99 << 10},
        {106, 16},
    };
    *value = 0;
    for (size_t index = 0; index < sizeof known / sizeof *known; index++)
        if (known[index].attribute == attribute) *value = known[index].value;
    return result(SUCCESS);
}

const char *cudaGetErrorName(int code) {
    switch (code) {
    case SUCCESS: return "cudaSuccess";
    case OUT_OF_MEMORY: return "cudaErrorMemoryAllocation";
    case INVALID_DEVICE: return "cudaErrorInvalidDevice";
    case ILLEGAL_ADDRESS: return "cudaErrorIllegalAddress";
    case NOT_SUPPORTED: return "cudaErrorNotSupported";
    default: return "cudaErrorUnknown";
    }
}

const char *cudaGetErrorString(int code) {
    switch (code) {
    case SUCCESS: return "no error";
    case OUT_OF_MEMORY: return "out of memory";
    case INVALID_DEVICE: return "invalid device ordinal";
    case ILLEGAL_ADDRESS: return "an illegal memory access was encountered";
    case NOT_SUPPORTED: return "operation not supported";
    default: return "unknown error";
    }
}

int cudaPeekAtLastError(void) { return result(last_error); }

int cudaGetLastError(void) {
    int code = result(last_error);
    last_error = SUCCESS;
    return code;
}

/* ---- kernels ---- */

/* The mangled names of kernels by the address of the host's function that launches them. */
static struct kernel {
    struct kernel *next;
    const void *function;
    const char *name;
} *kernels[4096];

static struct kernel **kernel_slot(const void *function) {
    return &kernels[((uintptr_t)function >> 4) % (sizeof kernels / sizeof *kernels)];
}

static const char *kernel_name(const void *function) {
    for (struct kernel *kernel = *kernel_slot(function); kernel != NULL; kernel = kernel->next)
        if (kernel->function == function) return kernel->name;
    return "a kernel that was not registered";
}

void **__cudaRegisterFatBinary(void *binary) {
    (void)binary;
    return calloc(1, sizeof(void *));
}

void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }

void __cudaUnregisterFatBinary(void **handle) { free(handle); }

void __cudaRegisterFunction(void **handle, const char *function, char *device_function, const char *name, int threads,
                            void *thread, void *block, void *block_size, void *grid_size, int *warps) {
    (void)handle, (void)device_function, (void)threads, (void)thread, (void)block, (void)block_size, (void)grid_size,
        (void)warps;
    struct kernel *kernel = calloc(1, sizeof *kernel);
    if (kernel == NULL) return;
    struct kernel **slot = kernel_slot(function);
    *kernel = (struct kernel){*slot, function, name};
    *slot = kernel;
}

void __cudaRegisterVar(void **handle, char *variable, char *address, const char *name, int external, size_t len,
                       int constant, int global) {
    (void)handle, (void)variable, (void)address, (void)name, (void)external, (void)len, (void)constant, (void)global;
}

struct dim3 {
    unsigned x, y, z;
};

static _Thread_local struct {
    struct dim3 grid, block;
    size_t shared;
    void *stream;
} configuration;

unsigned __cudaPushCallConfiguration(struct dim3 grid, struct dim3 block, size_t shared, void *stream) {
    configuration.grid = grid;
    configuration.block = block;
    configuration.shared = shared;
    configuration.stream = stream;
    return SUCCESS;
}

int __cudaPopCallConfiguration(struct dim3 *grid, struct dim3 *block, size_t *shared, void **stream) {
    *grid = configuration.grid;
    *block = configuration.block;
    *shared = configuration.shared;
    *stream = configuration.stream;
    return SUCCESS;
}

struct unary {
    const float *from;
    float *to;
    int64_t len;
};

static void relu(void *arguments) {
    struct unary *unary = arguments;
    const float *from = device_alias(unary->from);
    float *to = device_alias(unary->to);
    for (int64_t index = 0; index < unary->len; index++) to[index] = from[index] > 0 ? from[index] : 0;
}

struct constant {
    float *to;
    float value;
    int64_t len;
};

static void constant(void *arguments) {
    struct constant *constant = arguments;
    float *to = device_alias(constant->to);
    for (int64_t index = 0; index < constant->len; index++) to[index] = constant->value;
}

struct bias {
    const float *from;
    float *to;
    int64_t len;
    int columns, row_stride, column_stride;
};

static void spread_bias(void *arguments) {
    struct bias *bias = arguments;
    const float *from = device_alias(bias->from);
    float *to = device_alias(bias->to);
    for (int64_t index = 0; index < bias->len; index++) {
        int64_t row = index / bias->columns, column = index % bias->columns;
        to[index] = from[row * bias->row_stride + column * bias->column_stride];
    }
}

int cudaLaunchKernel(const void *function, struct dim3 grid, struct dim3 block, void **arguments, size_t shared,
                     void *stream) {
    (void)grid, (void)block, (void)shared;
    const char *name = kernel_name(function);
    device_report->kernels++;
    if (strstr(name, "_UnaryElementWiseIff") != NULL && strstr(name, "OP_ReluIf") != NULL) {
        struct unary unary = {*(const float **)arguments[0], *(float **)arguments[1], *(int64_t *)arguments[3]};
        return device_enqueue(stream, relu, &unary, sizeof unary);
    }
    if (strstr(name, "_FillIf") != NULL) {
        struct constant all = {*(float **)arguments[0], *(float *)arguments[1], *(int64_t *)arguments[2]};
        return device_enqueue(stream, constant, &all, sizeof all);
    }
    if (strstr(name, "19BroadcastBiasKernelIfiLb0E") != NULL) {
        /* The fourth argument divides by the number of columns, which is its first member. */
        struct bias bias = {*(const float **)arguments[0], *(float **)arguments[1], *(int64_t *)arguments[2],
                            *(int *)arguments[3],          *(int *)arguments[4],    *(int *)arguments[5]};
        return device_enqueue(stream, spread_bias, &bias, sizeof bias);
    }
    return device_lacks(name);
}

int __cudaGetKernel(const void **kernel, const void *function) {
    *kernel = function;
    return SUCCESS;
}

int __cudaLaunchKernel(const void *kernel, struct dim3 grid, struct dim3 block, void **arguments, size_t shared,
                       void *stream) {
    return cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}

/* ---- what is not there ---- */

#define LACKS(name) \
    int name(void) { return device_lacks(#name); }

LACKS(cudaFreeAsync)
LACKS(cudaFuncGetAttributes)
LACKS(cudaFuncSetAttribute)
LACKS(cudaGetDriverEntryPointByVersion)
LACKS(cudaGraphDestroy)
LACKS(cudaGraphExecDestroy)
LACKS(cudaGraphInstantiate)
LACKS(cudaGraphLaunch)
LACKS(cudaKernelSetAttributeForDevice)
LACKS(cudaLaunchCooperativeKernel)
LACKS(cudaLaunchKernelExC)
LACKS(cudaLibraryGetKernel)
LACKS(cudaLibraryLoadData)
LACKS(cudaLibraryUnload)
LACKS(cudaMallocFromPoolAsync)
LACKS(cudaMemPoolCreate)
LACKS(cudaMemPoolDestroy)
LACKS(cudaMemPoolGetAttribute)
LACKS(cudaMemPoolSetAttribute)
LACKS(cudaMemPoolTrimTo)
LACKS(cudaMemcpy2DAsync)
LACKS(cudaMemcpyFromSymbol)
LACKS(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)
LACKS(cudaStreamBeginCapture)
LACKS(cudaStreamEndCapture)
