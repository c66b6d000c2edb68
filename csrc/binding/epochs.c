/* EpochIterator: what ft(epochs, ...) returns. Trains an epoch, then gives the loop its turn. */
/* SPDX-License-Identifier: MIT */
#include "epochs.h"

#include "loops.h"

/* ---- ending ---- */

static void
close_file(PyObject **file)
{
    PyObject *closed = *file == NULL ? NULL : PyObject_CallMethod(*file, "close", NULL);
    if (*file != NULL && closed == NULL) {
        PyErr_WriteUnraisable(*file);
    }
    Py_XDECREF(closed);
    Py_CLEAR(*file);
}

static int
break_epoch_off(epoch_iterator *self)
{
    ft_epoch epoch;
    pyft_tracker *tracker = self->tracker;
    if (pyft_tracker_record_all(tracker) < 0) {
        return -1;
    }
    ft_epochs_end(&tracker->run, false, NULL, pyft_tracker_now(tracker), &epoch);
    return pyft_epochs_report(self, &epoch);
}

int
pyft_epochs_displace(PyObject *object)
{
    ((epoch_iterator *)object)->displaced = true;
    return pyft_epochs_close(object);
}

int
pyft_epochs_close(PyObject *object)
{
    epoch_iterator *self = (epoch_iterator *)object;
    if (self->closed) {
        return 0;
    }
    self->closed = true;
    PyObject *error = pyft_take_exception();
    self->tracker->training_now = false;
    int result = self->tracker->run.open ? break_epoch_off(self) : 0;
    if (self->tracker->iterator == object) {
        self->tracker->iterator = NULL;
    }
    if (error != NULL) {
        result = 0; /* that ended the loop, and is reported */
    }
    error = pyft_keep_first(error);
    close_file(&self->batch_file);
    close_file(&self->epoch_file);
    close_file(&self->progress);
    Py_CLEAR(self->items);
    bool failed = self->failed || error != NULL;
    if (!self->displaced && pyft_run_loop_ended(self->tracker, failed) < 0) {
        result = error == NULL ? -1 : result;
        error = pyft_keep_first(error);
    }
    pyft_put_exception(error);
    return result;
}

/* ---- training ---- */

/* by_steps: loops record what it cost. */
static int
train_batch(epoch_iterator *self, PyObject *train, PyObject *batch, bool by_steps)
{
    uint64_t batch_size;
    ft_step step;
    PyObject *size = PyObject_CallOneArg(train, batch);
    int result = size == NULL ? -1
                 : by_steps   ? 0
                              : pyft_to_u64(size, "the batch size", &batch_size);
    Py_XDECREF(size);
    if (result < 0 || by_steps) {
        return result;
    }
    return pyft_tracker_add_batch(self->tracker, batch_size, &step) < 0
               ? -1
               : pyft_epochs_report_step((PyObject *)self, &step);
}

/* 1 where the budget ended the epoch. */
static int
train_on(epoch_iterator *self, PyObject *batches, bool by_steps)
{
    PyObject *train = PyObject_GetAttrString(self->tracker->training, "train"), *batch;
    int result = train == NULL ? -1 : 0;
    while (result == 0 && (batch = PyIter_Next(batches)) != NULL) {
        result = train_batch(self, train, batch, by_steps);
        Py_DECREF(batch);
        result = result < 0 ? -1 : pyft_tracker_mind_budget(self->tracker);
    }
    Py_XDECREF(train);
    return PyErr_Occurred() ? -1 : result;
}

/* A loop of steps of training, also where another phase is open around ft(...). */
static int
train_in_loop(epoch_iterator *self, PyObject *batches, pyft_loops *loops, PyObject *iterator)
{
    uint64_t loop = 0;
    PyObject *phase = Py_NewRef(Py_None);
    if (loops->phase != 0) {
        Py_SETREF(phase, PyObject_CallMethod((PyObject *)loops, "_begin_phase", "s", "train"));
    }
    int result = phase == NULL || pyft_loops_begin_loop(loops, batches, &loop) < 0
                     ? -1
                     : train_on(self, iterator, true);
    PyObject *error = pyft_take_exception();
    if (loop != 0 && pyft_loops_end(loops, loop, true) < 0) {
        result = -1;
        error = pyft_keep_first(error);
    }
    if (phase != NULL && phase != Py_None) {
        PyObject *ended = PyObject_CallMethod((PyObject *)loops, "_end", "OO", phase, Py_True);
        result = ended == NULL ? -1 : result;
        Py_XDECREF(ended);
        error = pyft_keep_first(error);
    }
    Py_XDECREF(phase);
    pyft_put_exception(error);
    return result;
}

/* 1 where the budget ended the epoch. */
static int
train_batches(epoch_iterator *self)
{
    PyObject *training = self->tracker->training;
    PyObject *batches = NULL, *iterator = NULL;
    PyObject *loops = PyObject_CallMethod(training, "start_epoch", "O", (PyObject *)self->tracker);
    if (loops != NULL && (batches = PyObject_CallMethod(training, "batches", NULL)) != NULL) {
        iterator = PyObject_GetIter(batches);
    }
    int result = iterator == NULL   ? -1
                 : loops == Py_None ? train_on(self, iterator, false)
                                    : train_in_loop(self, batches, (pyft_loops *)loops, iterator);
    Py_XDECREF(loops);
    Py_XDECREF(batches);
    Py_XDECREF(iterator);
    return result < 0 || pyft_tracker_record_all(self->tracker) < 0 ? -1 : result;
}

/* Ends an epoch with its mean loss, where the training knows one. */
static int
finish_with_loss(epoch_iterator *self, bool complete)
{
    ft_epoch epoch;
    PyObject *mean = PyObject_CallMethod(self->tracker->training, "mean_loss", NULL);
    bool has_loss = mean != NULL && mean != Py_None;
    double loss = has_loss ? PyFloat_AsDouble(mean) : 0;
    Py_XDECREF(mean);
    if (PyErr_Occurred() || pyft_tracker_end_epoch_in_order(self->tracker, complete,
                                                            has_loss ? &loss : NULL, &epoch) < 0) {
        return -1;
    }
    return pyft_epochs_report(self, &epoch);
}

static int
call_on_epoch_end(epoch_iterator *self)
{
    if (self->on_epoch_end == NULL) {
        return 0;
    }
    PyObject *done = PyObject_CallFunction(self->on_epoch_end, "OI", self->tracker,
                                           (unsigned int)self->tracker->run.ledger.current.epoch);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* To go on without any batch would look like training. Said once in a loop. */
static int
warn_if_empty(epoch_iterator *self)
{
    const ft_epoch *epoch = &self->tracker->run.ledger.current;
    if (epoch->batches > 0 || self->warned_of_no_batch) {
        return 0;
    }
    self->warned_of_no_batch = true;
    return PyErr_WarnFormat(PyExc_UserWarning, 1,
                            "the loader gave no batch in epoch %u, so nothing was trained (a "
                            "generator can be read only once: bind a DataLoader or a list)",
                            epoch->epoch);
}

static int
train_epoch(epoch_iterator *self)
{
    pyft_tracker *tracker = self->tracker;
    if (pyft_run_begin(tracker) < 0) {
        return -1;
    }
    ft_status status = ft_epochs_begin(&tracker->run, pyft_tracker_now(tracker));
    if (status != FT_OK) {
        pyft_raise(status, "starting an epoch");
        return -1;
    }
    int cut = train_batches(self);
    int whole = cut > 0 ? pyft_tracker_saw_all_batches(tracker) : 1;
    if (cut < 0 || whole < 0 || finish_with_loss(self, whole > 0) < 0 || warn_if_empty(self) < 0) {
        return -1;
    }
    return call_on_epoch_end(self);
}

/* What a loop gives that is over: its end or, where it was cut short, an exception. */
static PyObject *
after_the_end(const epoch_iterator *self)
{
    if (self->displaced) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this loop was ended by another use of its tracker (ft(...), run or "
                        "on_epoch_start) inside of it");
    }
    return NULL;
}

static PyObject *
iterator_next(PyObject *object)
{
    epoch_iterator *self = (epoch_iterator *)object;
    if (self->closed) {
        return after_the_end(self);
    }
    if (self->tracker->training_now) {
        PyErr_SetString(PyExc_RuntimeError, "this tracker is training an epoch already");
        return NULL;
    }
    self->started = true;
    PyObject *items = Py_NewRef(self->items); /* it may use the tracker, which ends this loop */
    int over = pyft_tracker_mind_budget(self->tracker);
    if (over > 0 && self->print_at != 0 &&
        pyft_epochs_say(self, pyft_tracker_budget_line(self->tracker)) < 0) {
        over = -1;
    }
    PyObject *item = over == 0 ? PyIter_Next(items) : NULL;
    Py_DECREF(items);
    if (self->closed) {
        Py_XDECREF(item);
        return PyErr_Occurred() ? NULL : after_the_end(self);
    }
    if (item != NULL) {
        self->tracker->training_now = true; /* whoever uses the tracker meanwhile is told off */
        int trained = train_epoch(self);
        self->tracker->training_now = false;
        if (trained == 0) {
            return item;
        }
    }
    if (item == NULL && !PyErr_Occurred() && self->print_at != 0) {
        pyft_epochs_say(self, pyft_tracker_trust_line(self->tracker));
    }
    Py_XDECREF(item);
    pyft_forbid_stop_iteration();
    pyft_epochs_close(object);
    return NULL;
}

/* ---- the type ---- */

static void
iterator_finalize(PyObject *object)
{
    epoch_iterator *self = (epoch_iterator *)object;
    PyObject *error = pyft_take_exception();
    self->failed = error != NULL;
    if (!self->started && !self->closed &&
        PyErr_WarnEx(PyExc_RuntimeWarning,
                     "ft(...) was never looped over, so nothing was trained: write "
                     "`for _ in ft(epochs): ...`, or call ft.run(epochs)",
                     1) < 0) {
        PyErr_WriteUnraisable(object);
    }
    if (pyft_epochs_close(object) < 0) {
        PyErr_WriteUnraisable(object);
    }
    pyft_put_exception(error);
}

static int
iterator_traverse(PyObject *object, visitproc visit, void *arg)
{
    epoch_iterator *self = (epoch_iterator *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)self->tracker);
    Py_VISIT(self->items);
    Py_VISIT(self->batch_file);
    Py_VISIT(self->epoch_file);
    Py_VISIT(self->progress);
    Py_VISIT(self->on_epoch_end);
    return 0;
}

static int
iterator_clear(PyObject *object)
{
    epoch_iterator *self = (epoch_iterator *)object;
    Py_CLEAR(self->items);
    Py_CLEAR(self->batch_file);
    Py_CLEAR(self->epoch_file);
    Py_CLEAR(self->progress);
    Py_CLEAR(self->on_epoch_end);
    return 0;
}

static void
iterator_dealloc(PyObject *object)
{
    epoch_iterator *self = (epoch_iterator *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;
    }
    PyObject_GC_UnTrack(object);
    iterator_clear(object);
    Py_CLEAR(self->rank);
    Py_DECREF(self->tracker);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_doc, "Trains one epoch at each step of the loop; made by ft(epochs, ...)."},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {Py_tp_finalize, iterator_finalize},
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_traverse, iterator_traverse},
    {Py_tp_clear, iterator_clear},
    {0, NULL},
};

static PyType_Spec iterator_spec = {
    .name = "flops_tracker._core.EpochIterator",
    .basicsize = sizeof(epoch_iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};

int
pyft_add_epochs(PyObject *module, pyft_state *state)
{
    state->epoch_iterator_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &iterator_spec, NULL);
    return state->epoch_iterator_type == NULL
               ? -1
               : PyModule_AddType(module, state->epoch_iterator_type);
}
