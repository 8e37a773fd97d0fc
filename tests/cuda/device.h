/* What the libraries of the stand-in share. See device.c. */
#ifndef STAND_IN_DEVICE_H
#define STAND_IN_DEVICE_H

#include <stddef.h>
#include <stdint.h>

/* The codes of CUDA's runtime that are used here. */
enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    NOT_SUPPORTED = 801,
};

/* The widest arguments of any work. */
#define WORK_ARGUMENTS_MAX 160

/* Work of a stream: called with a copy of its arguments, when somebody waits for the stream and not before. */
typedef void (*work_fn)(void *arguments);

/* Puts work into a stream; the CUDA code that a launch would give. */
int device_enqueue(void *stream, work_fn work, const void *arguments, size_t len);

/* Where the host may touch what `device` points to; other pointers are given back as they are. */
void *device_alias(const void *device);

/* Says once on standard error that something is asked for that is not there. */
int device_lacks(const char *what);

/* What tests read, and the faults that they order: a file of the processes' own, named by STAND_IN_CUDA_REPORT and the
 * process id. The order of the fields is known to tests/it/cuda.rs. */
struct report {
    _Atomic uint64_t bytes_used;      /* of the device's memory */
    _Atomic uint64_t bytes_used_max;  /* the most since the start */
    _Atomic uint64_t pinned_bytes;    /* page-locked memory of the host */
    _Atomic uint64_t copies_pinned;   /* copies to the device from page-locked memory */
    _Atomic uint64_t copies_pageable; /* copies to the device from other memory of the host */
    _Atomic uint64_t copied_pinned;   /* bytes of the former */
    _Atomic uint64_t products;        /* matrix products */
    _Atomic uint64_t kernels;         /* other kernels */
    _Atomic uint64_t streams;         /* alive */
    _Atomic uint64_t bytes_max;       /* order: the device's memory; 0 for all of it */
    _Atomic uint64_t fault;           /* order: a code that every launch gives from now on, and every call after it */
};

extern struct report *device_report;

#endif
