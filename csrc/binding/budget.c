/* The budget of a tracker: reading max_flops, and what happens at the step that comes to it. */
/* SPDX-License-Identifier: MIT */
#include "loops.h"

/* ---- reading amounts ---- */

static int
text_to_amount(PyObject *object, const char *what, bool per_second, ft_u128 *amount)
{
    const char *text = PyUnicode_AsUTF8(object);
    if (text == NULL) {
        return -1;
    }
    ft_amount_problem problem = ft_amount_parse(text, per_second, amount);
    if (problem != FT_AMOUNT_OK) {
        PyErr_Format(problem == FT_AMOUNT_TOO_LARGE ? PyExc_OverflowError : PyExc_ValueError,
                     "%s=%R: %s", what, object, ft_amount_text(problem));
        return -1;
    }
    return 0;
}

static int
float_to_amount(PyObject *object, const char *what, ft_u128 *amount)
{
    double value = PyFloat_AsDouble(object);
    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    *amount = ft_amount_of_double(value);
    if (ft_u128_overflowed(*amount)) {
        PyErr_Format(PyExc_ValueError, "%s must be a number from 0 to below 2**128, not %R", what,
                     object);
        return -1;
    }
    return 0;
}

int
pyft_to_amount(PyObject *object, const char *what, bool per_second, ft_u128 *amount)
{
    if (PyUnicode_Check(object)) {
        return text_to_amount(object, what, per_second, amount);
    }
    if (PyBool_Check(object) || !PyNumber_Check(object) || PyComplex_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be a number or a text such as '%s', not %R", what,
                     per_second ? "312 TFLOP/s" : "2.5 PFLOP", object);
        return -1;
    }
    return PyIndex_Check(object) ? pyft_to_u128(object, what, amount)
                                 : float_to_amount(object, what, amount);
}

PyObject *
pyft_amount(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *value;
    const char *name;
    ft_u128 amount;
    if (!PyArg_ParseTuple(args, "Os:_to_amount", &value, &name) ||
        pyft_to_amount(value, name, false, &amount) < 0) {
        return NULL;
    }
    return pyft_from_u128(amount);
}

int
pyft_to_budget(PyObject *object, ft_u128 *budget)
{
    ft_u128 amount = FT_U128_ZERO;
    if (object != NULL && object != Py_None) {
        if (pyft_to_amount(object, "max_flops", false, &amount) < 0) {
            return -1;
        }
        if (ft_u128_is_zero(amount)) {
            PyErr_Format(PyExc_ValueError, "max_flops must be above 0, not %R; None is no limit",
                         object);
            return -1;
        }
    }
    *budget = amount;
    return 0;
}

int
pyft_check_on_budget(PyObject *on_budget)
{
    if (on_budget == NULL || PyCallable_Check(on_budget)) {
        return 0;
    }
    bool text = PyUnicode_Check(on_budget);
    if (text && (PyUnicode_CompareWithASCIIString(on_budget, "stop") == 0 ||
                 PyUnicode_CompareWithASCIIString(on_budget, "warn") == 0)) {
        return 0;
    }
    PyErr_Format(text ? PyExc_ValueError : PyExc_TypeError,
                 "on_budget must be 'stop', 'warn' or a function of the tracker, not %R",
                 on_budget);
    return -1;
}

/* ---- coming to it ---- */

/* The step that came to the budget is not always the last one: a budget may be set later. */
static PyObject *
place_text(const pyft_tracker *self)
{
    uint32_t epoch, step;
    ft_ledger_find(&self->run.ledger, self->budget_reached, &epoch, &step);
    if (step > 0 || self->budget_step > 0) {
        return PyUnicode_FromFormat(" in epoch %u step %llu", step > 0 ? epoch : self->budget_epoch,
                                    step > 0 ? (unsigned long long)step
                                             : (unsigned long long)self->budget_step);
    }
    return epoch > 0 ? PyUnicode_FromFormat(" in epoch %u", epoch) : PyUnicode_FromString("");
}

PyObject *
pyft_tracker_budget_line(const pyft_tracker *self)
{
    PyObject *budget = pyft_flops_text(self->budget_reached), *place = place_text(self),
             *total = pyft_flops_text(self->run.ledger.total);
    PyObject *line = NULL;
    if (budget != NULL && place != NULL && total != NULL) {
        line = PyUnicode_FromFormat("budget of %U reached%U%stotal %U", budget, place, PYFT_DOT,
                                    total);
    }
    Py_XDECREF(budget);
    Py_XDECREF(place);
    Py_XDECREF(total);
    return line;
}

static int
warn_of_budget(const pyft_tracker *self)
{
    PyObject *line = pyft_tracker_budget_line(self);
    int result = line == NULL
                     ? -1
                     : PyErr_WarnFormat(PyExc_UserWarning, 1,
                                        "%U; training goes on, as on_budget='warn' says", line);
    Py_XDECREF(line);
    return result;
}

/* Whether the loops are to end: asked once for each budget. */
static int
ask_on_budget(pyft_tracker *self)
{
    PyObject *on_budget = self->on_budget;
    if (on_budget == NULL || !PyCallable_Check(on_budget)) {
        bool warns = on_budget != NULL && PyUnicode_CompareWithASCIIString(on_budget, "warn") == 0;
        return !warns ? 1 : warn_of_budget(self);
    }
    Py_INCREF(on_budget);
    PyObject *answer = PyObject_CallOneArg(on_budget, (PyObject *)self);
    int stops = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_DECREF(on_budget);
    Py_XDECREF(answer);
    return stops;
}

/* Steps that wait hold up the records of others, but not the budget. */
static int
give_up_waiting(const pyft_tracker *self)
{
    pyft_loops *loops = (pyft_loops *)self->loops;
    bool waits = loops != NULL && loops->held_count > 0 && !ft_u128_is_zero(self->run.max_flops);
    return waits && pyft_held_over_budget(loops, &self->run) ? pyft_held_give_up(loops) : 0;
}

int
pyft_tracker_mind_budget(pyft_tracker *self)
{
    if (give_up_waiting(self) < 0) {
        return -1;
    }
    if (!ft_epochs_over_budget(&self->run)) {
        return 0;
    }
    if (!self->budget_told) {
        self->budget_told = true; /* before the call: it may raise, and set another budget */
        self->budget_reached = self->run.max_flops;
        self->budget_epoch = self->run.ledger.current.epoch;
        self->budget_step = self->budget_late ? 0 : self->run.ledger.current.batches;
        int stops = ask_on_budget(self);
        if (self->loops != NULL) { /* what was asked may have changed models */
            ((pyft_loops *)self->loops)->now_loop = 0;
        }
        if (stops < 0) {
            return -1;
        }
        self->budget_stops = stops != 0;
        return stops;
    }
    return self->budget_stops;
}

int
pyft_tracker_saw_all_batches(pyft_tracker *self)
{
    PyObject *number = PyObject_CallMethod(self->training, "batch_count", NULL);
    unsigned long long count = number == NULL ? 0 : PyLong_AsUnsignedLongLong(number);
    Py_XDECREF(number);
    if (PyErr_Occurred()) { /* the loader does not know */
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    return count == self->run.ledger.current.batches;
}

/* ---- attributes ---- */

PyObject *
pyft_tracker_max_flops(PyObject *object, void *unused)
{
    (void)unused;
    ft_u128 budget = ((pyft_tracker *)object)->run.max_flops;
    return ft_u128_is_zero(budget) ? Py_NewRef(Py_None) : pyft_from_u128(budget);
}

int
pyft_tracker_set_max_flops(PyObject *object, PyObject *value, void *unused)
{
    (void)unused;
    pyft_tracker *self = (pyft_tracker *)object;
    ft_u128 budget;
    if (pyft_to_budget(value, &budget) < 0) { /* deleting it is None */
        return -1;
    }
    self->run.max_flops = budget;
    self->budget_told = self->budget_stops = self->budget_said = false;
    self->budget_late = ft_epochs_over_budget(&self->run);
    return 0;
}

PyObject *
pyft_tracker_over_budget(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(ft_epochs_over_budget(&((pyft_tracker *)object)->run));
}

/* _mind_budget(says): whether loops are to end. says: 0, nothing; 1, a line once; 2, a line. */
PyObject *
pyft_tracker_mind(PyObject *object, PyObject *says)
{
    pyft_tracker *self = (pyft_tracker *)object;
    long level = PyLong_AsLong(says);
    int stops = PyErr_Occurred() ? -1 : pyft_tracker_mind_budget(self);
    if (stops > 0 && (level == 2 || (level == 1 && !self->budget_said))) {
        self->budget_said = true;
        PyObject *line = pyft_tracker_budget_line(self);
        PyObject *done =
            line == NULL ? NULL
                         : pyft_call_helper("flops_tracker._rates", "say_on_rank_0", "(O)", line);
        Py_XDECREF(line);
        Py_XDECREF(done);
        stops = done == NULL ? -1 : stops;
    }
    return stops < 0 ? NULL : PyBool_FromLong(stops);
}
