/* Modules that a rule for their class counts as a whole. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

/* The rule's cost of a call that is over; of one that an exception ended, as checkpoints end what
 * they run again, that of the call before. */
static int
unit_cost(pyft_counter *counter, const pyft_op *op, uint32_t module, PyObject *arguments,
          ft_cost *cost, ft_class *op_class)
{
    PyObject *rule = Py_NewRef(op->user_rule); /* it may be replaced while it runs */
    PyObject *result = PyObject_Call(rule, arguments, NULL);
    Py_DECREF(rule);
    if (pyft_user_cost(op, result, cost, op_class) < 0) {
        return -1;
    }
    counter->modules.items[module].unit = *cost;
    return 0;
}

int
pyft_count_unit(pyft_thread *thread, PyObject *module, PyObject *args, PyObject *kwargs,
                PyObject *output)
{
    pyft_counter *counter = thread->counter;
    pyft_counting *counting = counter->state->counting;
    PyObject *ruled = pyft_ruled_class(&counting->ops, module);
    uint32_t number;
    pyft_place place;
    const pyft_op *op = ruled == NULL ? NULL : pyft_op_of(counter->state, ruled, &number);
    if (op == NULL || pyft_place_of(thread, op, args, &place) < 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (output == NULL && place.phase != FT_PHASE_RECOMPUTE) {
        return 0; /* forward that raised */
    }
    ft_cost cost = counter->modules.items[place.module].unit;
    ft_class op_class =
        ft_u128_is_zero(cost.by_kind[FT_MAC]) ? FT_CLASS_POINTWISE : FT_CLASS_MATMUL;
    PyObject *arguments = output == NULL ? NULL : PyTuple_Pack(4, module, args, kwargs, output);
    if (output != NULL && (arguments == NULL ||
                           unit_cost(counter, op, place.module, arguments, &cost, &op_class) < 0)) {
        Py_XDECREF(arguments);
        return -1;
    }
    Py_XDECREF(arguments);
    ft_work_key key = {.op = number,
                       .module = place.module,
                       .phase = (uint8_t)place.phase,
                       .op_class = (uint8_t)op_class};
    counter->tally.operations++;
    thread->call = 0;
    if (counter->calls != NULL) {
        double now = pyft_now(); /* what ran inside has its own times */
        thread->call = pyft_calls_append(counter->calls, number, now, now);
        if (thread->call == 0) {
            return -1;
        }
        pyft_calls_place(counter->calls, thread->call, &place);
    }
    return pyft_add_work(thread, key, &cost, 1);
}
