/* What the files of loops with steps share: digests of what is known of a step, and its loops. */
/* SPDX-License-Identifier: MIT */
#ifndef PYFT_STEPS_H
#define PYFT_STEPS_H

#include "counting.h"

/* ---- digests (digest.c) ---- */

typedef struct {
    uint64_t low, high;
} pyft_digest;

#define PYFT_DIGEST_START ((pyft_digest){0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu})

/* Also of zeros, it is never the same again. */
static inline uint64_t
pyft_mixed(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value ^ 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 32;
}

static inline void
pyft_digest_add(pyft_digest *digest, uint64_t value)
{
    digest->low = pyft_mixed(digest->low, value);
    digest->high = (digest->high + value + 1) * 0x9fb21c651e98df25u;
    digest->high ^= digest->high >> 29;
}

static inline void
pyft_digest_add_pointer(pyft_digest *digest, const void *pointer)
{
    pyft_digest_add(digest, (uint64_t)(uintptr_t)pointer);
}

/* What of torch is read of tensors here, by getters of the class: no look-up. */
typedef struct {
    PyObject *tensor_type, *parameter_type;
    PyGetSetDef *grad, *requires_grad, *version, *shape, *dtype, *device, *layout, *hooked;
    PyObject *is_contiguous, *stride;                    /* methods */
    PyObject *training, *parameters, *buffers, *modules; /* interned names, and those of hooks */
    PyObject *hooks, *pre_hooks, *backward_hooks, *backward_pre_hooks;
    PyObject *param_groups, *params, *state, *lr, *initial_lr, *step_pre_hooks, *step_post_hooks;
    PyObject *flags; /* tuple of functions: flags of the process that change which work is done */
    PyObject *autocast; /* tuple of such ones, asked where the last flag is True */
    PyObject *switches; /* tuple of (dict, key): others that Python keeps */
    PyObject *tables;   /* tuple of dicts of hooks of all modules */
    PyObject *steady;   /* tuple: classes of optimizers whose later steps do the same work */
    PyObject *strided;
} pyft_known;

int pyft_known_load(pyft_known *known, const pyft_torch *torch);
int pyft_known_visit(const pyft_known *known, visitproc visit, void *arg);
void pyft_known_clear(pyft_known *known);

/* Of what has a hash. */
int pyft_digest_hash(pyft_digest *digest, PyObject *value);
/* 0; 1 where it holds something that says nothing of its contents; -1 with an exception. */
int pyft_digest_batch(pyft_digest *digest, const pyft_known *known, PyObject *batch);
/* Shape and dtype of a tensor; nothing of what has none. */
void pyft_digest_shape(pyft_digest *digest, const pyft_known *known, PyObject *tensor);
int pyft_digest_flags(pyft_digest *digest, const pyft_known *known);
/* What decides which work a step of it does; *gradients: which of its parameters have one. */
int pyft_digest_optimizer(pyft_digest *digest, const pyft_known *known, PyObject *optimizer,
                          uint64_t *gradients);

/* ---- the state of models before and after a step (seen_models.c, snapshots.c) ---- */

enum { PYFT_MAX_ROOTS = 32, PYFT_SAMPLES = 2 };

typedef struct {
    PyObject *module; /* NULL for the root, which is not kept */
    PyObject *dict, *parameters, *buffers, *modules,
        *hooks[4]; /* its dicts; a hook's may be NULL */
    uint32_t parameter_start, parameter_count, child_start, child_count, buffer_start, buffer_count;
} pyft_seen_module;

/* A buffer may be another one after each step. */
typedef struct {
    PyObject *reference; /* weak; NULL where there is none */
    uint64_t shape;      /* a digest */
} pyft_seen_buffer;

/* A model whose modules and parameters are known; they are looked for again where they changed. */
typedef struct {
    PyObject *reference; /* weak */
    pyft_seen_module *modules;
    PyObject **parameters, **children;
    pyft_seen_buffer *buffers;
    uint32_t module_count, module_capacity, parameter_count, parameter_capacity, child_count,
        child_capacity, buffer_count, buffer_capacity;
} pyft_root;

typedef struct {
    pyft_root roots[PYFT_MAX_ROOTS];
    int root_count;
    bool looking;
    uint64_t generation; /* of what is known: versions of other generations are not compared */
} pyft_models;

/* Flags of all parameters and their gradients at one moment; of some of them more. */
typedef struct {
    pyft_digest flags; /* modes and hooks of modules, shapes, which parameters require gradients */
    pyft_digest gradients; /* which of them have one */
    pyft_digest shapes;    /* of some of them; in flags as well */
    uint64_t generation;
    uint64_t versions; /* of all gradients: a sum, so that what was added to them can be told */
    struct {
        PyObject *gradient; /* weak */
        int64_t version;    /* of the parameter */
        bool same;          /* the gradient is the one of the moment before */
    } samples[PYFT_MAX_ROOTS * PYFT_SAMPLES];
    int sample_count;
    bool has_gradients; /* any */
    bool valid;
} pyft_snapshot;

/* 1 where it was added; nothing happens for one that is known, or is inside of one. */
int pyft_models_add(pyft_models *models, PyObject *root);
/* Finds what has changed of them, and forgets those that are gone. */
int pyft_models_look(pyft_models *models, const pyft_known *known);
int pyft_models_visit(const pyft_models *models, visitproc visit, void *arg);
void pyft_models_clear(pyft_models *models);
/* `before`: to tell which gradients are the same ones. */
int pyft_snapshot_take(pyft_snapshot *snapshot, pyft_models *models, const pyft_known *known,
                       const pyft_snapshot *before);
/* What became of the gradients from one moment to the other: rest, fine and fresh of the sign. */
void pyft_snapshot_change(const pyft_snapshot *before, const pyft_snapshot *after,
                          ft_step_sign *sign);
/* Of all gradients that there are now, the sum in `versions`. */
uint64_t pyft_gradient_versions(const pyft_models *models, const pyft_known *known);
/* Whether nothing happened to them. */
bool pyft_snapshot_equal(const pyft_snapshot *before, const pyft_snapshot *after);
void pyft_snapshot_clear(pyft_snapshot *snapshot);

#endif
