/* What the files of the layerwise estimators share: their state and the dry run. */
/* SPDX-License-Identifier: MIT */
#ifndef PYFT_LAYERWISE_H
#define PYFT_LAYERWISE_H

#include "pyft.h"

#include <structmember.h>

#define PYFT_DRY_RUN "flops_tracker._dry_run"

/* FLOPs of a forward pass of B samples: fixed + slope * B / example_batch. The fixed part is work
 * that does not depend on the batch (a layer applied to constants); it is seen by a second dry run
 * with twice the batch, and is 0 where that was not possible. */
typedef struct {
    pyft_estimator base;
    PyObject *model, *input_example, *batch_dim, *device, *training_factor;
    PyObject *user_rules; /* class: callable */
    PyObject *layers;     /* tuple of Layer; NULL until prepared */
    PyObject *dry_run;    /* "fake" or "real", and why */
    unsigned classes;     /* bit set of the classes that count */
    bool cnn_only, use_eval_mode;
    bool preparing;                  /* rules and warnings may call back meanwhile */
    uint64_t numerator, denominator; /* of training_factor */
    uint64_t example_batch;
    ft_u128 forward_flops, fixed, slope;
} layerwise;

/* layerwise_run.c */
/* 0, or -1 with an exception where a dry run is going on. */
int pyft_layerwise_check_idle(const layerwise *self, const char *doing);
/* Does the dry run unless it is done; 0, or -1 with an exception and nothing changed. */
int pyft_layerwise_prepare(layerwise *self);
int pyft_layerwise_evaluate(pyft_estimator *estimator, uint64_t batch_size, ft_u128 *flops);
PyObject *pyft_layers_with_status(layerwise *self, const char *wanted);
/* How many layers have that status (any, where it is NULL) and a field that is not 0. */
enum { PYFT_LAYER_STATUS = 2, PYFT_LAYER_FLOPS = 5, PYFT_LAYER_PARAMETERS = 6 };
Py_ssize_t pyft_layers_count(const layerwise *self, const char *wanted, int field);

/* layerwise_methods.c */
extern PyMethodDef pyft_layerwise_methods[];
extern PyGetSetDef pyft_layerwise_getset[];
extern PyMemberDef pyft_layerwise_members[];

#endif
