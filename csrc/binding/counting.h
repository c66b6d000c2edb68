/* What the files of the operation counter share: modules, threads, phases, records, results. */
/* SPDX-License-Identifier: MIT */
#ifndef PYFT_COUNTING_H
#define PYFT_COUNTING_H

#include "operations.h"

/* ---- modules and where the program is in them (scopes.c) ---- */

typedef struct {
    PyObject *reference;         /* weak */
    PyObject *name, *class_name; /* its path below the root */
    PyObject *aliases;           /* list of further paths, or NULL */
    uint32_t parent;
    ft_cost unit; /* of the last call, where a rule for its class counts it */
    bool own_parameters, has_forward;
} pyft_module_entry;

/* Number 0 is the outside of all modules. */
typedef struct {
    pyft_module_entry *items;
    uint32_t count, capacity;
    PyObject *numbers; /* address: number */
    PyObject *found;   /* name: how many modules that were met while counting have it */
    PyObject *names;   /* name: number, of these and all below them */
    bool has_model;    /* number 1, named at the start */
} pyft_modules;

typedef struct {
    uint32_t module;
    bool unit; /* counted by a rule for its class, and not by what runs inside */
    long graph_task;
    PyObject *object, *handled; /* borrowed, only compared: the module; an exception, or NULL */
    PyObject *frame;            /* owned: the call's */
} pyft_scope;

/* Nodes with a sequence number of at least `start` belong to `module`, until the next interval. */
typedef struct {
    uint64_t start;
    uint32_t module;
} pyft_interval;

struct pyft_counter;

/* ---- calls one by one, where a counter is asked for them (calls.c) ---- */

typedef struct {
    uint32_t op, module;
    uint8_t phase;
    double start, end; /* of a monotonic clock, in seconds */
} pyft_call;

/* A row of one call: it may have several, and be read under any convention. */
typedef struct {
    size_t call;
    uint8_t op_class;
    ft_cost cost;
} pyft_call_work;

/* Shared by a counter and the counts taken from it. */
typedef struct {
    size_t references;
    pyft_call *items;
    size_t count, capacity;
    pyft_call_work *works;
    size_t work_count, work_capacity;
} pyft_calls;

enum { PYFT_MAX_STEPS = 8 };

/* One thread that is being counted, or was: what it knows of autograd's nodes is for later blocks
 * of the same counter too. Owned by its counter. */
typedef struct pyft_thread {
    struct pyft_counter *counter;
    PyObject *mode; /* owned; knows this thread until it is left; NULL between blocks */
    unsigned long id;
    int users; /* hooks and modes that are at work on it */
    pyft_scope *scopes;
    int depth, scope_capacity, units;
    pyft_interval *intervals; /* a ring once it has its full size */
    uint64_t interval_first, interval_count, interval_capacity;
    long long graph_task; /* the last one in which nodes were made, and */
    uint64_t sequence;    /* autograd's number after that */
    PyObject *node;       /* owned: the one whose operations run, while they do, and */
    uint32_t node_module; /* its module: torch makes a new object of each node that nobody keeps */
    bool after_backward;  /* and before the next call of a module */
    int records;          /* open record_function blocks */
    struct {
        int depth;
        long graph_task;
    } steps[PYFT_MAX_STEPS]; /* optimizer steps among them */
    int step_count;
    size_t call; /* the number of the recorded call that is counted now, plus 1; or 0 */
} pyft_thread;

typedef struct pyft_counter {
    PyObject_HEAD
    PyObject *weak_references;
    pyft_state *state;
    ft_tally tally;
    pyft_modules modules;
    pyft_thread **threads;
    int thread_count;
    const ft_convention *convention;
    PyObject *unknown;         /* name of an operation without a rule: shapes of its first call */
    PyObject *bounded;         /* the same of those of which a bound is counted */
    PyObject *model, *session; /* session: what Python has to undo on leaving */
    pyft_calls *calls;         /* NULL where calls are not recorded */
    PyObject *observer;        /* told before and after each call that is recorded; or NULL */
    PyObject *formulas;        /* packet name: a formula of this counter alone; or NULL */
    PyObject *varying;         /* borrowed: name of an operation whose work data decided; or NULL */
    bool strict, causal, active;
} pyft_counter;

/* ---- counter.c, counter_reads.c ---- */

/* RuntimeError where a subclass has not called __init__. */
int pyft_counter_check(const pyft_counter *counter);
PyObject *pyft_counter_counts(PyObject *counter, void *unused);
PyObject *pyft_counter_counts_as(PyObject *counter, PyObject *type);
PyObject *pyft_counter_getattro(PyObject *counter, PyObject *name);
PyObject *pyft_counter_repr(PyObject *counter);
PyObject *pyft_counter_str(PyObject *counter);
PyObject *pyft_counter_dir(PyObject *counter, PyObject *unused);

/* ---- modules.c ---- */

int pyft_modules_init(pyft_modules *modules);
/* Adds a module with all modules below it, named after its class; `parent` is 0 for a model. */
int pyft_modules_add_tree(pyft_modules *modules, PyObject *root, uint32_t parent);
/* The number of a module, -1 for one that is not known. */
long long pyft_modules_known(const pyft_modules *modules, PyObject *module);
/* The number of a module; one that is not known is added below `parent`. */
int pyft_modules_find(pyft_modules *modules, PyObject *module, uint32_t parent, uint32_t *number);
void pyft_modules_clear(pyft_modules *modules);

/* ---- scopes.c ---- */

int pyft_scope_enter(pyft_thread *thread, PyObject *module);
/* Closes the calls that something other than an Exception has ended, which no hook is told of. */
void pyft_scope_cut(pyft_thread *thread);
/* Closes all calls. */
void pyft_scope_clear(pyft_thread *thread);
int pyft_scope_leave(pyft_thread *thread, PyObject *module, PyObject *args, PyObject *kwargs,
                     PyObject *output);
/* Nodes from `start` on are made in `module`. */
int pyft_scope_note(pyft_thread *thread, uint64_t start, uint32_t module);
uint32_t pyft_scope_of_forward(const pyft_thread *thread);
/* The module that made an autograd node. */
int pyft_scope_of_node(const pyft_thread *thread, const pyft_torch *torch, PyObject *node,
                       uint32_t *module);
/* Whether all nodes belong to the outside of modules. */
bool pyft_scope_is_one_place(const pyft_thread *thread);
/* Where the last interval starts; 0 where there is none. */
uint64_t pyft_scope_last(const pyft_thread *thread);

/* ---- threads.c ---- */

/* A method of a counter: a mode for the calling thread, which Python enters; None once the block
 * has ended. */
PyObject *pyft_counter_new_mode(PyObject *counter, PyObject *unused);
/* Its hooks, called for every module of the process. */
PyObject *pyft_counter_enter_module(PyObject *counter, PyObject *const *args, Py_ssize_t count);
PyObject *pyft_counter_leave_module(PyObject *counter, PyObject *const *args, Py_ssize_t count);
/* Counting began inside of an optimizer's step, whose beginning it has not seen. */
PyObject *pyft_counter_enter_step(PyObject *counter, PyObject *unused);
/* Whether this thread comes from a backward, which what it does next is an update after; sets it.
 */
bool pyft_counter_swap_after_backward(pyft_counter *counter, bool after);
/* The block is over. What a thread is counting then is counted to its end. */
void pyft_threads_end(pyft_counter *counter);
bool pyft_threads_in_use(const pyft_counter *counter);
void pyft_threads_free(pyft_counter *counter);
/* While it is held, the thread and its counter stay: what is called may end the block. */
void pyft_thread_hold(pyft_thread *thread);
void pyft_thread_release(pyft_thread *thread);

/* ---- where an operation happens (phases.c) ---- */

typedef struct {
    ft_phase phase;
    uint32_t module;
} pyft_place;

int pyft_record_enter(pyft_thread *thread, PyObject *args, const pyft_torch *torch);
/* An optimizer's step, to the end of the record_function block that is open. */
int pyft_step_enter(pyft_thread *thread, const pyft_torch *torch);
void pyft_record_exit(pyft_thread *thread);
/* `args`: what the operation was given. */
int pyft_place_of(pyft_thread *thread, const pyft_op *op, PyObject *args, pyft_place *place);

/* ---- calls.c; a call's number plus 1 stands for it, and 0 for none ---- */

pyft_calls *pyft_calls_new(void);
void pyft_calls_release(pyft_calls *calls);
/* Runs the operation and records the call; *call stays 0 where it is no work. */
PyObject *pyft_calls_run(const pyft_counter *counter, uint32_t number, PyObject *args,
                         PyObject *kwargs, size_t *call);
/* The new record; 0 with an exception. */
size_t pyft_calls_append(pyft_calls *calls, uint32_t op, double start, double end);
void pyft_calls_place(pyft_calls *calls, size_t call, const pyft_place *place);
int pyft_calls_add(pyft_calls *calls, size_t call, uint8_t op_class, const ft_cost *cost);

/* ---- rule_calls.c: rules that users wrote ---- */

/* What the rule gives for a call; a new reference. */
PyObject *pyft_call_rule(const pyft_made *made, PyObject *rule);
/* Reads that: FLOPs, or a dict of counts by kind. Steals it; NULL is an error of the rule. */
int pyft_user_cost(const pyft_op *op, PyObject *result, ft_cost *cost, ft_class *op_class);

/* ---- counting.c: adds a call to the tally of its counter ---- */

int pyft_add_work(const pyft_thread *thread, ft_work_key key, const ft_cost *cost, uint64_t calls);
/* units.c: what a module of a class that has a rule cost in one call. */
int pyft_count_unit(pyft_thread *thread, PyObject *module, PyObject *args, PyObject *kwargs,
                    PyObject *output);
int pyft_count_call(pyft_thread *thread, uint32_t number, PyObject *args, PyObject *kwargs,
                    PyObject *result);
/* unknown.c: adds the operation and its shapes to a dict, where it is not there yet. */
int pyft_note_shapes(PyObject *dict, const pyft_made *made);
/* Refuses an operation without a rule, before it runs, where the counter is strict. */
int pyft_check_known(const pyft_counter *counter, const pyft_op *op);
/* The counter's own formula for an operation; borrowed, NULL where it has none or on an error. */
PyObject *pyft_formula_of(const pyft_counter *counter, const pyft_op *op);

/* ---- mode.c: the dispatch mode ---- */

/* The mode that counts for a thread; it passes everything through once the thread is forgotten. */
PyObject *pyft_mode_new(pyft_state *state, pyft_thread *thread);
void pyft_mode_forget(PyObject *mode);
/* The thread that a mode counts for; NULL for any other mode. */
pyft_thread *pyft_mode_thread(PyObject *mode, const pyft_state *state);

/* ---- counts.c, counts_sums.c, counts_state.c, counts_load.c: results ---- */

typedef struct {
    PyObject_HEAD
    ft_tally tally;
    const ft_convention *convention;
    pyft_state *state;
    PyObject *modules; /* list of tuples, see modules_list */
    PyObject *unknown; /* dict: name of an operation without a rule: shapes of its first call */
    PyObject *bounded; /* dict: the same of those of which a bound is counted */
    bool causal;       /* attention counts what its mask leaves */
    pyft_calls *calls; /* of which the first ones are these counts' */
    size_t call_count, work_count;
    PyObject *op_names;    /* list: (name, packet) by number, and */
    PyObject *dtype_names; /* list: name by number, of counts that were loaded; NULL otherwise */
} pyft_counts;

pyft_counts *pyft_counts_empty(PyTypeObject *type, pyft_state *state,
                               const ft_convention *convention);
/* Borrowed; `packet`: the name without the overload. */
PyObject *pyft_counts_op_name(const pyft_counts *counts, uint32_t op, bool packet);
/* Numbers of operations are below it. */
size_t pyft_counts_op_limit(const pyft_counts *counts);
PyObject *pyft_counts_dtype_name(const pyft_counts *counts, size_t dtype);
PyObject *pyft_counts_state(PyObject *counts, PyObject *unused);
PyObject *pyft_counts_from_state(PyObject *type, PyObject *data);
PyObject *pyft_counts_from_states(PyObject *type, PyObject *states); /* counts_merge.c */
PyObject *pyft_counts_sums(PyObject *counts, PyObject *axis);
PyObject *pyft_counts_op_calls(PyObject *counts, PyObject *unused);
PyObject *pyft_counts_module_sums(PyObject *counts, PyObject *unused);
PyObject *pyft_counts_module_op_sums(PyObject *counts, PyObject *name_of);
PyObject *pyft_counts_rows(PyObject *counts, void *unused);
PyObject *pyft_counts_calls(PyObject *counts, void *unused);
PyObject *pyft_counts_calls_sum(PyObject *counts, PyObject *numbers);
/* A FlopCount, or an instance of a subclass of it. */
PyObject *pyft_counts_new(pyft_counter *counter, PyObject *type);
/* The same of a part of what it counted. */
PyObject *pyft_counts_of(pyft_counter *counter, const ft_tally *tally, PyObject *type);
int pyft_add_counts(PyObject *module, pyft_state *state);
int pyft_add_counter(PyObject *module, pyft_state *state);
int pyft_add_loops(PyObject *module, pyft_state *state); /* loops_type.c */

#endif
