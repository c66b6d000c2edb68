/* What the files of the layer walk share: the layers of one model and a call of one of them. */
/* SPDX-License-Identifier: MIT */
#ifndef PYFT_WALK_H
#define PYFT_WALK_H

#include "pyft.h"

typedef struct {
    PyObject *module, *path, *class_name;
    PyObject *user_rule;                 /* a callable, or NULL */
    const ft_map_row *rows[FT_MAX_ROWS]; /* the rules of its class */
    int row_count;
    Py_ssize_t parent; /* index of the module that holds it, -1 for the root */
    uint64_t own_parameters;
    bool has_forward;
    bool incomplete; /* its forward is its own and may compute more than its rule counts */
    bool compiled;   /* by torch.jit: what runs inside can't be observed */
    PyObject *note;  /* NULL where there is nothing to say */
    uint64_t calls[PYFT_PASSES], inner_calls; /* inner: within a layer that counts as one unit */
    ft_u128 flops[PYFT_PASSES];
} layer;

typedef struct {
    PyObject_HEAD
    layer *layers;
    Py_ssize_t count, capacity;
    PyObject *index;      /* id of the module: position in layers */
    PyObject *user_rules; /* class: callable */
    PyObject *handles;    /* of our hooks */
    PyObject *failure;    /* an exception raised by a user's rule inside a hook */
    unsigned classes;     /* bit set of the classes that count */
    bool cnn_only;
    PyObject *table; /* of compat.flops_counter; NULL: the rules of the registry */
    int pass;
    PyObject *handled_before; /* the exception that was being handled when the pass began, if any */
    layer *running_unit; /* the outermost unit whose forward is running; inside it nothing counts */
    Py_ssize_t unit_depth;
} walk;

/* A call of a layer, as its forward hook sees it; all borrowed. */
typedef struct {
    PyObject *module, *args, *kwargs, *output;
} pyft_call;

static inline bool
pyft_has_rule(const layer *self)
{
    return self->user_rule != NULL || self->row_count > 0;
}

static inline bool
pyft_is_unit(const layer *self)
{
    return self->user_rule != NULL || (self->row_count > 0 && (self->rows[0]->flags & FT_ROW_UNIT));
}

/* walk_tree.c */
/* module.__dict__[name]; a new reference, or NULL without an exception. */
PyObject *pyft_own_attribute(PyObject *module, const char *name);
/* Adds a module and then its children, each module once, in the order of named_modules. */
int pyft_walk_add_module(walk *self, const pyft_state *state, PyObject *module, PyObject *path,
                         Py_ssize_t parent);

/* walk_operands.c */
/* dims has room for FT_MAX_DIMS; an operand that is not there is no error. */
int pyft_read_operand(const pyft_call *made, const ft_source *source, int64_t *dims,
                      ft_operand *operand);

/* walk_count.c */
/* Adds the FLOPs of the call to its layer. -1 only where the program has to stop. */
int pyft_walk_count_call(walk *self, layer *target, const pyft_call *made);

#endif
