/* What the files of the epoch iterator share: its state. */
/* SPDX-License-Identifier: MIT */
#ifndef PYFT_EPOCHS_H
#define PYFT_EPOCHS_H

#include "pyft.h"

enum { AT_EPOCH = 1, AT_BATCH = 2 };

typedef struct {
    PyObject_HEAD
    pyft_tracker *tracker;
    PyObject *items; /* the iterator over what the user gave as epochs */
    int print_at, export_at;
    PyObject *batch_file, *epoch_file; /* NULL where not exported */
    PyObject *progress;                /* NULL without a progress bar */
    PyObject *on_epoch_end;            /* NULL without a callback */
    PyObject *rank;                    /* what its lines begin with; empty in a process alone */
    bool warned_of_no_batch;
    bool started, closed, displaced; /* displaced: ended by another use of its tracker */
    bool failed;                     /* dropped by an exception */
} epoch_iterator;

/* epochs_report.c */
/* Prints a line; steals text, which may be NULL with an exception set. */
int pyft_epochs_say(epoch_iterator *iterator, PyObject *text);
/* Writes and prints an epoch that has ended. */
int pyft_epochs_report(epoch_iterator *iterator, const ft_epoch *epoch);

#endif
