/* The loops of a tracker: what is open in each other, and the records of steps that have ended. */
/* SPDX-License-Identifier: MIT */
#ifndef PYFT_LOOPS_H
#define PYFT_LOOPS_H

#include "steps.h"

enum { PYFT_MAX_SPANS = 32, PYFT_MAX_HELD = 4096 };

typedef enum {
    PYFT_SPAN_LOOP, /* of steps: what is between them is nobody's */
    PYFT_SPAN_STEP,
    PYFT_SPAN_PHASE,
    PYFT_SPAN_OPTIMIZER, /* a step of one */
} pyft_span_kind;

/* What is open; what happens in an inner one is not its own. */
typedef struct {
    pyft_span_kind kind;
    uint64_t number; /* no two have the same */
    int phase;
    bool counted, closed;
    bool has_key; /* else it may do anything, and is counted each time */
    bool broken;  /* off, by an exception or `break` */
    bool dropped; /* and neither recorded nor counted, unless an optimizer has stepped */
    bool aloof;   /* a loop whose loader leaves the models alone */
    bool odd;     /* it is like no other: something in it is not known */
    ft_step_key key;
    uint64_t batch_size;
    uint64_t sequence, excluded; /* autograd's numbering at its start, and of inner spans */
    uint64_t last;               /* the same at its end */
    uint64_t events;             /* a digest of the optimizers that stepped in it */
    uint64_t stepped;            /* and of versions of gradients then, where all were its own */
    ft_u128 inside;              /* FLOPs of these */
    uint64_t compiled;           /* calls of compiled code before it */
    PyObject *optimizer;         /* borrowed, only compared */
    /* While inner ones are open: */
    ft_tally work;
    bool after_backward;
    PyObject *varying;
} pyft_span;

/* A step whose record waits for what it cost, or for one before it. */
typedef struct {
    uint64_t batch_size;
    ft_u128 flops; /* known so far */
    bool known, lost;
    ft_step_key key;
    ft_step_sign sign;
    double now, paused; /* its end; seconds of the epoch that were no training until then */
} pyft_held;

typedef struct {
    PyObject *name; /* "train" is the first */
    ft_replay steps, optimizers;
    bool used;        /* a step or the phase itself has ended */
    bool told_varies; /* that its steps are all counted */
} pyft_phase_work;

typedef struct {
    PyObject_HEAD
    PyObject *weak_references;
    PyObject *tracker; /* weak */
    pyft_counter *counter;
    pyft_known known;
    pyft_models models;
    uint32_t modules_seen; /* of the counter's, of which other models than the tracker's come */
    pyft_phase_work **phases;
    int phase_count, phase;
    ft_trace_mode trace;
    uint64_t verify_every, seed;
    pyft_span spans[PYFT_MAX_SPANS];
    pyft_snapshot before[PYFT_MAX_SPANS]; /* each of these that is a step */
    int depth;
    uint64_t last_number;
    unsigned long thread; /* in which spans are open */
    pyft_snapshot now;    /* after the last step of a loop, before the next one */
    uint64_t now_loop;    /* the number of that loop; 0 where it is of no use */
    pyft_held *held;
    size_t held_first, held_count, held_capacity;   /* held_first: above 0 while they leave */
    PyObject *hooks[2], *hook_tables[2], *hook_key; /* of optimizers, while a span is open */
    PyObject *optimizers; /* list of weak references: their places are numbers of their own */
    PyObject *warnings;   /* list of what is to be said once everything is in its place */
    PyObject *batch_dim;
    ft_tally last; /* the work of the last step, if it was counted, with its optimizers' */
    uint64_t traced_steps, odd_steps, odd_told; /* counted; not counted, of no kind; told of */
    uint64_t differing;                         /* counted ones that others may have stood for */
    bool told_of_batch;                         /* that one says nothing of what it holds */
    bool count_all;       /* spans were closed out of order: no step is like another one */
    bool busy;            /* a span opens or closes */
    bool cut;             /* the budget ended a loop of steps before its last one */
    uint32_t run_through; /* the epoch of which a loop over steps was the last to end whole */
} pyft_loops;

/* 0 is no span: -1 with an exception. What a span is called is its number. position: a digest of
 * where in the user's code it stands. */
int pyft_loops_begin_loop(pyft_loops *loops, PyObject *loader, uint64_t *number);
/* batch: NULL for a step of which nothing is known. */
int pyft_loops_begin_step(pyft_loops *loops, PyObject *batch, uint64_t batch_size,
                          uint64_t position, uint64_t *number);
/* Closes a span; one in which others are open, as its loop is gone, when these are closed. whole:
 * it was not broken off. Nothing happens where it is closed already. */
int pyft_loops_end(pyft_loops *loops, uint64_t number, bool whole);
/* Samples in a batch; 1 where that can't be told. */
int pyft_loops_batch_size(pyft_loops *loops, PyObject *batch, uint64_t *size);

/* The innermost span; NULL without one. */
pyft_span *pyft_loops_top(pyft_loops *loops);
/* Autograd's numbering in this thread. */
int pyft_loops_sequence(const pyft_loops *loops, uint64_t *sequence);

/* How often compiled code was called, and ran uncompiled, while something was counted. */
int pyft_loops_compiled_calls(const pyft_loops *loops, uint64_t *count);

/* span_ends.c: after it was taken out; `work`, what was counted of it; `varying`, the name of an
 * operation in it whose work data decided, or NULL. */
int pyft_loops_end_span(pyft_loops *loops, pyft_span *span, ft_tally *work, PyObject *varying);

/* What a step has left behind that ends now. */
int pyft_loops_sign(pyft_loops *loops, const pyft_span *span, ft_step_sign *sign);

/* records_held.c */
int pyft_held_add(pyft_loops *loops, const pyft_held *record);
/* Those that were waiting and are known now get their FLOPs. */
void pyft_held_resolve(pyft_loops *loops);
/* Records in their order, up to the first that waits. */
int pyft_held_flush(pyft_loops *loops);
/* Whether the budget is reached by what is known of the steps that are held. */
bool pyft_held_over_budget(const pyft_loops *loops, const ft_epochs *run);
/* All of them: what is not known is in no total. */
int pyft_held_give_up(pyft_loops *loops);
/* An epoch of which nobody has said that it begins. */
int pyft_loops_begin_epoch(pyft_tracker *tracker, double now);
/* Borrowed; NULL with an exception where it is gone. */
pyft_tracker *pyft_loops_tracker(const pyft_loops *loops);
/* Adds a warning to be given when all is in its place, given by a function of _tell.py. */
int pyft_loops_note(pyft_loops *loops, const char *name, PyObject *args);
int pyft_loops_say(pyft_loops *loops);

/* optimizer_spans.c */
/* Hooks of torch.optim: (optimizer, args, kwargs). */
PyObject *pyft_loops_before_optimizer(PyObject *loops, PyObject *const *args, Py_ssize_t count);
PyObject *pyft_loops_after_optimizer(PyObject *loops, PyObject *const *args, Py_ssize_t count);
/* Opens and closes any span. */
int pyft_loops_open(pyft_loops *loops, pyft_span *span);
int pyft_loops_close_top(pyft_loops *loops);
/* The optimizer whose span that is raised: what it did is the work of what it was in. */
void pyft_loops_break_off(pyft_loops *loops, int at);

/* loops_reads.c */
PyObject *pyft_loops_counts(PyObject *loops, PyObject *type);
PyObject *pyft_loops_phase_counts(PyObject *loops, PyObject *type);
PyObject *pyft_loops_state(PyObject *loops, PyObject *type);
PyObject *pyft_loops_take_last(PyObject *loops, PyObject *type);
uint64_t pyft_loops_traced(const pyft_loops *loops);
uint64_t pyft_loops_replayed(const pyft_loops *loops);
uint64_t pyft_loops_unattributed(const pyft_loops *loops);
uint64_t pyft_loops_differing(const pyft_loops *self);

/* loops_methods.c */
extern PyMethodDef pyft_loops_methods[];
int pyft_loops_end_epoch(pyft_loops *loops, bool whole);
/* The number of a phase, which is new where it has no name yet. */
int pyft_loops_find_phase(pyft_loops *loops, PyObject *name, int *number);

/* steps_iterator.c */
PyObject *pyft_steps_iterate(PyObject *loops, PyObject *args);
int pyft_add_loops(PyObject *module, pyft_state *state);
int pyft_add_steps_iterator(PyObject *module, pyft_state *state);

#endif
