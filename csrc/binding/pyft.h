/* The binding's private header: module state, and the helpers that its files share. */
/* SPDX-License-Identifier: MIT */
#ifndef PYFT_H
#define PYFT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "ft.h"

/* Method tables keep the calling convention in a flag and the pointer without it. */
#define PYFT_METHOD(function) ((PyCFunction)(void (*)(void))(function))

/* Between the parts of a printed line. An argument, since formats must be ASCII. */
#define PYFT_DOT " · "

typedef struct pyft_state {
    ft_registry registry;
    struct pyft_counting *counting; /* NULL until operations are counted */
    PyTypeObject *estimator_type, *sgd_type, *torch_layer_type, *torch_auto_type, *torch_cnn_type;
    PyTypeObject *walk_type, *tracker_type, *epoch_iterator_type, *steps_iterator_type;
    PyTypeObject *counter_type, *counts_type, *mode_type;
    PyTypeObject *step_log_type, *epoch_log_type, *layer_type, *rule_type, *convention_type,
        *operation_row_type;
    PyObject *uncounted_warning, *unknown_error;
} pyft_state;

extern PyModuleDef pyft_module;

/* NULL with an exception where the type does not come from this module. */
pyft_state *pyft_state_of(PyTypeObject *type);

/* errors.c: always returns NULL, so that `return pyft_raise(...)` reads well. */
PyObject *pyft_raise(ft_status status, const char *doing);
/* The exception that is set, which is cleared; a new reference, or NULL. */
PyObject *pyft_take_exception(void);
/* Takes the one that is set, unless there was one before it, of which it is a consequence. Steals
 * `first`, which may be NULL, and gives the one that stays. */
PyObject *pyft_keep_first(PyObject *first);
/* Sets it again; steals it. NULL: leaves what is set. */
void pyft_put_exception(PyObject *error);
/* A StopIteration of the user's code would end the loop as if all epochs were trained (PEP 479). */
void pyft_forbid_stop_iteration(void);

/* convert.c: 0, or -1 with an exception that names `what`. */
PyObject *pyft_from_u128(ft_u128 count);
int pyft_to_u128(PyObject *object, const char *what, ft_u128 *count);
int pyft_to_u64(PyObject *object, const char *what, uint64_t *number);
/* Functions of the module: counts added up, and one taken from another. */
PyObject *pyft_sum_counts(PyObject *module, PyObject *counts);
PyObject *pyft_subtract_counts(PyObject *module, PyObject *args);
PyObject *pyft_count_difference(PyObject *module, PyObject *args);
/* An option that is on or off, for the format O&: a bool, NumPy's too, or 0 or 1. */
typedef struct {
    const char *name;
    int on;
} pyft_switch;
int pyft_to_switch(PyObject *object, void *option);
/* A sequence of integers into dims[FT_MAX_DIMS]. */
int pyft_to_dims(PyObject *sequence, int64_t *dims, int *ndim);
/* A finite factor of 0 or more as a fraction, as exact as its decimal digits. */
int pyft_to_ratio(PyObject *object, const char *what, uint64_t *numerator, uint64_t *denominator);
PyObject *pyft_grouped_text(ft_u128 count);
PyObject *pyft_si_text(ft_u128 count);
/* Both, as in "1,500 FLOPs (1.50 kFLOP)"; below 1000 they would be the same. */
PyObject *pyft_flops_text(ft_u128 count);
PyTypeObject *pyft_new_record_type(PyStructSequence_Desc *desc);
/* A struct sequence; steals the fields, of which some may be NULL with an exception set. */
PyObject *pyft_new_record(PyTypeObject *type, PyObject **fields, Py_ssize_t count);
/* Calls `name` of one of the package's Python modules, imported on first use. */
PyObject *pyft_call_helper(const char *module, const char *name, const char *format, ...);

/* An estimator whose batches cost the same whenever they are of one size keeps the last answer. */
typedef struct pyft_estimator {
    PyObject_HEAD
    /* NULL for estimators written in Python, which are asked through their method. */
    int (*evaluate)(struct pyft_estimator *self, uint64_t batch_size, ft_u128 *flops);
    bool remembered;
    uint64_t remembered_batch;
    ft_u128 remembered_flops;
} pyft_estimator;

/* estimators.c, torch_estimators.c */
int pyft_add_estimators(PyObject *module, pyft_state *state);
int pyft_add_torch_estimators(PyObject *module, pyft_state *state);
bool pyft_answers_in_c(const pyft_state *state, PyObject *estimator);
/* A new reference to what a tracker was given, checked; a PyTorch model becomes an estimator that
 * counts its operations. convention is NULL where none was given. */
PyObject *pyft_take_estimator(PyObject *estimator, const char *convention, const pyft_state *state);
/* The FLOPs of one batch, from C or from the estimator's Python method. */
int pyft_flops_for_batch(PyObject *estimator, bool answers_in_c, uint64_t batch_size,
                         ft_u128 *flops);
/* estimator.flops_for_batch(batch_size) for those with an `evaluate`. */
PyObject *pyft_estimator_flops_for_batch(PyObject *self, PyObject *batch_size);

/* walk.c, walk_layers.c: reads the layers of a model and counts one dry run. */
int pyft_add_walk(PyObject *module, pyft_state *state);
enum { PYFT_PASSES = 3 }; /* the example; twice its batch; the same for its first input only */
/* The forward FLOPs of a pass, summed over all layers. */
ft_u128 pyft_walk_total(PyObject *walk, int pass);
/* The layers as a tuple of Layer records. */
PyObject *pyft_walk_layers(PyObject *walk);

/* tracker.c, epochs.c */
int pyft_add_tracker(PyObject *module, pyft_state *state);
int pyft_add_epochs(PyObject *module, pyft_state *state);

typedef struct {
    PyObject_HEAD
    PyObject *estimator;
    PyObject *run_name;
    PyObject *training; /* what torch_bind or sklearn_bind made; NULL before */
    PyObject *written;  /* dict: the CSV files that are its own, as it left them */
    PyObject *iterator; /* borrowed: the EpochIterator that has not ended yet */
    PyObject *loops;    /* epochs, steps and phases of loops that the user writes; NULL before */
    PyObject *trace_options; /* of these: (trace, verify_every), or NULL */
    PyObject *on_budget;     /* "stop", "warn" or a callable; NULL: "stop" */
    PyObject *peak_flops;    /* as _rates.check_peak made it; NULL where none was given */
    PyObject *noted;         /* what _rates noted at the end of each epoch; NULL before */
    PyObject *own_run;       /* id and time of the run, and its row of the ledger; see _run.py */
    PyObject *weak_references;
    ft_epochs run;
    double resumed_time_s; /* seconds of training before the state that was loaded */
    bool estimator_in_c;   /* it answers without a call into Python */
    bool log_wall_time;
    bool has_ledger;   /* a row of a ledger of runs is wanted */
    bool training_now; /* a batch is being trained: it will be counted by the loop */
    /* The budget: on_budget was asked; it says stop; a line said so. */
    bool budget_told, budget_stops, budget_said;
    bool budget_late;       /* the total had come to it before it was set, or loaded */
    ft_u128 budget_reached; /* of which budget it was asked, and after which step; 0: not known */
    uint32_t budget_epoch;
    uint64_t budget_step;
} pyft_tracker;

/* A monotonic clock, in seconds. */
double pyft_now(void);
double pyft_tracker_now(const pyft_tracker *tracker);
int pyft_tracker_add_batch(pyft_tracker *tracker, uint64_t batch_size, ft_step *step);
PyObject *pyft_tracker_trust_line(pyft_tracker *tracker);
/* 0, or -1 with an exception where __init__ was not called. */
int pyft_tracker_check(pyft_tracker *tracker);
/* Lets the estimator do its dry run now. */
int pyft_tracker_prepare(pyft_tracker *tracker);
/* Steps of loops that wait for what they cost are recorded as they are. */
int pyft_tracker_record_all(pyft_tracker *tracker);

/* tracker_training.c */
PyObject *pyft_tracker_torch_bind(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_sklearn_bind(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_call(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_run(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_estimate(PyObject *tracker, PyObject *args, PyObject *kwargs);

/* tracker_loops.c */
PyObject *pyft_tracker_on_epoch_start(PyObject *tracker, PyObject *unused);
PyObject *pyft_tracker_update_batch(PyObject *tracker, PyObject *const *args, Py_ssize_t count,
                                    PyObject *names);
PyObject *pyft_tracker_on_epoch_end(PyObject *tracker, PyObject *unused);
PyObject *pyft_tracker_enter(PyObject *tracker, PyObject *unused);
PyObject *pyft_tracker_exit(PyObject *tracker, PyObject *args);
PyObject *pyft_tracker_epochs(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_steps(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_step(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_phase(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_loops_attribute(PyObject *tracker, void *name);

/* tracker_options.c */

/* -1 with an exception that names the nearest option where one of kwargs is not in the list, which
 * ends with NULL. */
int pyft_check_option_names(PyObject *kwargs, char *const *names, const char *function);
PyObject *pyft_tracker_trace(PyObject *tracker, void *unused);
PyObject *pyft_tracker_verify_every(PyObject *tracker, void *unused);
PyObject *pyft_tracker_on_budget(PyObject *tracker, void *unused);
PyObject *pyft_tracker_peak_flops(PyObject *tracker, void *unused);
PyObject *pyft_tracker_convention(PyObject *tracker, void *unused);
PyObject *pyft_tracker_run_option(PyObject *tracker, void *name);

/* ranks.c */
PyObject *pyft_tracker_limbs(PyObject *tracker, PyObject *tag);
PyObject *pyft_join_limbs(PyObject *module, PyObject *args);
PyObject *pyft_tracker_over_ranks(PyObject *tracker, void *name);
/* "rank 1 of 4"; empty where there is one process. A new reference. */
PyObject *pyft_rank_label(void);
/* The same with what separates it from the rest of a line. */
PyObject *pyft_rank_prefix(void);

/* lines.c: what is printed of a batch and of an epoch; rank is what the line begins with. */
PyObject *pyft_step_line(PyObject *rank, const ft_step *step, ft_u128 flops_epoch);
PyObject *pyft_epoch_line(PyObject *rank, const ft_epoch *epoch, bool timed);
PyObject *pyft_tracker_step_lines(PyObject *tracker, PyObject *args);
PyObject *pyft_tracker_epoch_line(PyObject *tracker, PyObject *unused);
PyObject *pyft_tracker_write_epoch(PyObject *tracker, PyObject *file);

/* budget.c */

/* A number, or a text with a unit; a part of a FLOP is rounded up. */
int pyft_to_amount(PyObject *object, const char *what, bool per_second, ft_u128 *amount);
/* _to_amount(value, name): the same as an int, for the option of that name. */
PyObject *pyft_amount(PyObject *module, PyObject *args);
/* max_flops; NULL and None are no budget, 0. */
int pyft_to_budget(PyObject *object, ft_u128 *budget);
int pyft_check_on_budget(PyObject *on_budget);
/* After a step: 1 where the loops are to end, since the run came to its budget. */
int pyft_tracker_mind_budget(pyft_tracker *tracker);
PyObject *pyft_tracker_mind(PyObject *tracker, PyObject *says);
PyObject *pyft_tracker_budget_line(const pyft_tracker *tracker);
/* Whether the epoch had as many batches as the loader has. */
int pyft_tracker_saw_all_batches(pyft_tracker *tracker);
PyObject *pyft_tracker_max_flops(PyObject *tracker, void *unused);
int pyft_tracker_set_max_flops(PyObject *tracker, PyObject *value, void *unused);
PyObject *pyft_tracker_over_budget(PyObject *tracker, void *unused);

/* rates.c */
PyObject *pyft_rate(PyObject *module, PyObject *args);
PyObject *pyft_shares(PyObject *module, PyObject *counts);
PyObject *pyft_utilization(PyObject *module, PyObject *args);
PyObject *pyft_joint_peak(PyObject *module, PyObject *list);
PyObject *pyft_to_rate(PyObject *module, PyObject *args);
PyObject *pyft_peak_of(PyObject *module, PyObject *name);
PyObject *pyft_peaks(PyObject *module, PyObject *unused);
PyObject *pyft_tracker_train_time(PyObject *tracker, void *unused);
PyObject *pyft_tracker_rates(PyObject *tracker, void *name);
int pyft_tracker_end_epoch_in_order(pyft_tracker *tracker, bool complete, const double *loss,
                                    ft_epoch *epoch);
int pyft_add_work_sum(PyObject *module); /* work_sum.c */
PyObject *pyft_tracker_loops(PyObject *tracker, PyObject *unused);

PyObject *pyft_tracker_close(PyObject *tracker, PyObject *unused);

/* tracker_pages.c */
PyObject *pyft_tracker_to_html(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_repr_html(PyObject *tracker, PyObject *unused);

/* tracker_run.c: 0, or -1 with an exception */
PyObject *pyft_run_new(pyft_tracker *tracker, PyObject *project, PyObject *runs_csv,
                       bool log_wall_time);
int pyft_run_begin(pyft_tracker *tracker); /* an epoch begins */
int pyft_run_loop_ended(pyft_tracker *tracker, bool failed);
int pyft_run_enter(pyft_tracker *tracker); /* a with block */
int pyft_run_leave(pyft_tracker *tracker, bool failed);
int pyft_run_close(pyft_tracker *tracker);
void pyft_run_finalize(PyObject *tracker);
PyObject *pyft_tracker_run_id(PyObject *tracker, void *unused);

/* tracker_state.c, tracker_restore.c */
PyObject *pyft_tracker_state_dict(PyObject *tracker, PyObject *unused);
PyObject *pyft_tracker_load_state_dict(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_records(PyObject *tracker, PyObject *args);
PyObject *pyft_tracker_read_records(PyObject *tracker, PyObject *args);
PyObject *pyft_tracker_take_records(PyObject *tracker, PyObject *args);
PyObject *pyft_tracker_write_rows(PyObject *tracker, PyObject *args);

/* records.c */
int pyft_add_records(PyObject *module, pyft_state *state);
PyObject *pyft_tracker_print_total(PyObject *tracker, PyObject *unused);
PyObject *pyft_tracker_step_logs(PyObject *tracker, void *unused);
PyObject *pyft_tracker_epoch_logs(PyObject *tracker, void *unused);
PyObject *pyft_tracker_history(PyObject *tracker, void *unused);
PyObject *pyft_tracker_step_block(PyObject *tracker, PyObject *unused);
PyObject *pyft_tracker_save_batch_csv(PyObject *tracker, PyObject *args, PyObject *kwargs);
PyObject *pyft_tracker_save_epoch_csv(PyObject *tracker, PyObject *args, PyObject *kwargs);
/* A sink that hands every line to the `write` method of `file`. */
ft_sink pyft_file_sink(PyObject *file);

/* epochs.c: the iterator behind ft(epochs, ...); args and kwargs as of that call. */
PyObject *pyft_epochs_start(pyft_tracker *tracker, PyObject *args, PyObject *kwargs,
                            int default_print_at);
/* The epochs as a new int where they are a number; NULL without an exception where they are an
 * iterable (an array has __index__ as well). */
PyObject *pyft_epoch_number(PyObject *epochs);
/* Ends what an iterator left open; the same again does nothing. */
int pyft_epochs_close(PyObject *iterator);
/* Writes and prints a step that was recorded while the iterator trains. */
int pyft_epochs_report_step(PyObject *iterator, const ft_step *step);
/* The same, for another use of its tracker: a loop that still runs then raises. */
int pyft_epochs_displace(PyObject *iterator);

/* registry.c */
int pyft_add_registry(PyObject *module, pyft_state *state);
PyObject *pyft_rules(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *pyft_conventions(PyObject *module, PyObject *unused);
PyObject *pyft_formulas(PyObject *module, PyObject *unused);
PyObject *pyft_update_flops(PyObject *module, PyObject *args);
/* NULL with an exception that lists them where there is no such convention. */
const ft_convention *pyft_convention_named(const char *name);

#endif
