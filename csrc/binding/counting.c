/* What a call of an operation cost: its rules evaluated, and the rows of the tally. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>

pyft_counting *
pyft_counting_of(pyft_state *state)
{
    if (state->counting == NULL) {
        state->counting = PyMem_Calloc(1, sizeof *state->counting);
        if (state->counting == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    pyft_counting *counting = state->counting;
    if (counting->ops.user_rules == NULL && (counting->ops.user_rules = PyDict_New()) == NULL) {
        return NULL;
    }
    return pyft_torch_load(&counting->torch) < 0 ? NULL : counting;
}

int
pyft_counting_visit(pyft_counting *counting, visitproc visit, void *arg)
{
#define VISIT(member, module, attribute) Py_VISIT(counting->torch.member);
    PYFT_TORCH_LIST(VISIT)
#undef VISIT
    return pyft_ops_visit(&counting->ops, visit, arg);
}

void
pyft_counting_clear(pyft_counting *counting)
{
    pyft_torch *torch = &counting->torch;
#define CLEAR(member, module, attribute) Py_CLEAR(torch->member);
    PYFT_TORCH_LIST(CLEAR)
#undef CLEAR
    Py_CLEAR(torch->shape_name);
    Py_CLEAR(torch->dtype_name);
    Py_CLEAR(torch->layout_name);
    Py_CLEAR(torch->sequence_name);
    pyft_ops_clear(&counting->ops);
    for (int i = 1; i <= counting->dtypes.count; i++) {
        Py_CLEAR(counting->dtypes.items[i].dtype);
        Py_CLEAR(counting->dtypes.items[i].name);
    }
    counting->dtypes.count = 0;
}

/* ---- operations without a rule ---- */

static PyObject *
shapes_text(const pyft_made *made)
{
    PyObject *parts = PyList_New(0);
    for (int i = 0; parts != NULL && i < made->argument_count; i++) {
        PyObject *shape = PyObject_GetAttrString(made->tensors[i].object, "shape");
        PyErr_Clear(); /* a nested one has none */
        PyObject *sizes = shape == NULL ? NULL : PySequence_Tuple(shape);
        PyObject *text = shape == NULL   ? PyUnicode_FromString("nested")
                         : sizes == NULL ? NULL
                                         : PyObject_Repr(sizes);
        if (text == NULL || PyList_Append(parts, text) < 0) {
            Py_CLEAR(parts);
        }
        Py_XDECREF(shape);
        Py_XDECREF(sizes);
        Py_XDECREF(text);
    }
    PyObject *comma = PyUnicode_FromString(", ");
    PyObject *result = parts == NULL || comma == NULL ? NULL : PyUnicode_Join(comma, parts);
    Py_XDECREF(parts);
    Py_XDECREF(comma);
    return result;
}

/* The shapes of the first call are kept, which is enough to write a rule. */
static int
note_unknown(pyft_counter *counter, const pyft_made *made)
{
    counter->unknown_operations++;
    int known = PyDict_Contains(counter->unknown, made->op->name);
    if (known != 0) {
        return known < 0 ? -1 : 0;
    }
    PyObject *shapes = shapes_text(made);
    int result = shapes == NULL ? -1 : PyDict_SetItem(counter->unknown, made->op->name, shapes);
    Py_XDECREF(shapes);
    return result;
}

int
pyft_check_known(const pyft_counter *counter, const pyft_op *op)
{
    if (counter->strict && op->kind == PYFT_OP_UNKNOWN && pyft_formula_of(counter, op) == NULL) {
        if (PyErr_Occurred()) {
            return -1;
        }
        PyErr_Format(counter->state->unknown_error,
                     "no rule for %U, and this counter is strict: add one with "
                     "flops_tracker.register_rule(\"%U\", fn)",
                     op->name, op->name);
        return -1;
    }
    return 0;
}

/* ---- rules ---- */

PyObject *
pyft_formula_of(const pyft_counter *counter, const pyft_op *op)
{
    return counter->formulas == NULL ? NULL
                                     : PyDict_GetItemWithError(counter->formulas, op->packet);
}

static PyObject *
call_rule(const pyft_made *made, PyObject *rule)
{
    PyObject *kwargs = made->kwargs == NULL ? PyDict_New() : Py_NewRef(made->kwargs);
    PyObject *result =
        kwargs == NULL ? NULL
                       : PyObject_CallFunctionObjArgs(rule, made->args, kwargs, made->result, NULL);
    Py_XDECREF(kwargs);
    return result;
}

/* A user's rule returns FLOPs, or a dict of counts by kind. Steals what it returned. */
static int
user_cost(PyObject *result, ft_cost *cost, ft_class *op_class)
{
    *op_class = FT_CLASS_POINTWISE;
    if (result == NULL) {
        return -1;
    }
    int status = 0;
    if (PyDict_Check(result)) {
        for (int kind = 0; kind < FT_BYTES && status == 0; kind++) {
            PyObject *count = PyDict_GetItemString(result, ft_kind_name((ft_kind)kind));
            if (count != NULL) {
                status = pyft_to_u128(count, ft_kind_name((ft_kind)kind), &cost->by_kind[kind]);
            }
        }
        if (!ft_u128_is_zero(cost->by_kind[FT_MAC])) {
            *op_class = FT_CLASS_MATMUL;
        }
    }
    else {
        status = pyft_to_u128(result, "result of the rule", &cost->by_kind[FT_ARITH]);
    }
    Py_DECREF(result);
    return status;
}

/* Integers and booleans are no floating point numbers; a complex multiplication is four, and two
 * additions. */
static void
fit_to_numbers(ft_cost *cost, const pyft_made *made, pyft_number_kind numbers, unsigned flags)
{
    if (flags & FT_ROW_ARGUMENT && made->tensor_count > 0) {
        numbers = made->state->counting->dtypes.items[made->tensors[0].dtype].kind;
    }
    if (flags & FT_ROW_REAL && numbers == PYFT_COMPLEX) {
        return;
    }
    if (numbers == PYFT_INTEGER) {
        memset(cost, 0, sizeof *cost);
    }
    else if (numbers == PYFT_COMPLEX) {
        ft_cost_complex(cost, (flags & FT_ROW_PRODUCTS) != 0);
    }
}

static ft_status
row_cost(const pyft_made *made, int row, ft_cost *cost)
{
    const ft_formula *formula = made->op->rows[row]->formula;
    ft_operand operands[FT_MAX_ROLES];
    int64_t dims[FT_MAX_ROLES][FT_MAX_DIMS];
    int read = 0;
    ft_status status = FT_OK;
    memset(operands, 0, sizeof operands);
    while (read < made->op->role_counts[row] && status == FT_OK) {
        if (pyft_made_operand(made, row, read, dims[read], &operands[read]) < 0) {
            PyErr_Clear(); /* sizes that are not known, say: the rule does not fit */
            status = FT_BAD_SHAPE;
        }
        read++;
    }
    if (status == FT_OK) {
        status = ft_formula_evaluate(formula, operands, cost);
    }
    for (int role = 0; role < read; role++) {
        pyft_operand_free(dims[role], &operands[role]);
    }
    return status;
}

/* ---- one call ---- */

static int
add(const pyft_thread *thread, ft_work_key key, const ft_cost *cost, uint64_t calls)
{
    ft_status status = ft_tally_add(&thread->counter->tally, key, cost, calls);
    if (status != FT_OK) {
        pyft_raise(status, "counting an operation");
        return -1;
    }
    return thread->call == 0
               ? 0
               : pyft_calls_add(thread->counter->calls, thread->call, key.op_class, cost);
}

static int
add_unknown(const pyft_thread *thread, const pyft_made *made, ft_work_key key)
{
    ft_cost cost = {0};
    cost.by_kind[FT_BYTES] = made->bytes;
    key.op_class = FT_CLASS_UNKNOWN;
    return note_unknown(thread->counter, made) < 0 ? -1
                                                   : add(thread, key, &cost, made->element <= 0);
}

static int
count_rows(const pyft_thread *thread, const pyft_made *made, ft_work_key key,
           pyft_number_kind numbers)
{
    ft_cost costs[FT_MAX_ROWS];
    for (int row = 0; row < made->op->row_count; row++) {
        if (row_cost(made, row, &costs[row]) != FT_OK) {
            return add_unknown(thread, made, key);
        }
    }
    uint8_t phase = key.phase;
    for (int row = 0; row < made->op->row_count; row++) {
        const ft_map_row *rule = made->op->rows[row];
        fit_to_numbers(&costs[row], made, numbers, rule->flags);
        if (row == 0) {
            costs[row].by_kind[FT_BYTES] = made->bytes;
        }
        key.op_class = (uint8_t)rule->formula->op_class;
        key.phase = rule->flags & FT_ROW_RECOMPUTED ? FT_PHASE_RECOMPUTE : phase;
        if (add(thread, key, &costs[row], row == 0 && made->element <= 0) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
count_element(const pyft_thread *thread, pyft_made *made, ft_work_key key)
{
    if (pyft_made_read(made) < 0) {
        return -1;
    }
    key.dtype = (uint16_t)pyft_made_dtype(made);
    pyft_number_kind numbers = made->state->counting->dtypes.items[key.dtype].kind;
    if (made->op->user_rule == NULL && made->op->kind == PYFT_OP_COUNTED) {
        return count_rows(thread, made, key, numbers);
    }
    ft_cost cost = {0};
    ft_class op_class = FT_CLASS_DATA;
    if (made->op->user_rule != NULL) {
        if (user_cost(call_rule(made, made->op->user_rule), &cost, &op_class) < 0) {
            return -1;
        }
    }
    else if (numbers != PYFT_INTEGER) {
        return add_unknown(thread, made, key);
    }
    cost.by_kind[FT_BYTES] = made->bytes;
    key.op_class = (uint8_t)op_class;
    return add(thread, key, &cost, made->element <= 0);
}

static int
count_stated(const pyft_thread *thread, pyft_made *made, ft_work_key key, PyObject *formula)
{
    ft_cost cost = {0};
    if (pyft_made_read(made) < 0) {
        return -1;
    }
    PyObject *flops = call_rule(made, formula);
    int status =
        flops == NULL ? -1 : pyft_to_u128(flops, "result of the formula", &cost.by_kind[FT_ARITH]);
    Py_XDECREF(flops);
    if (status < 0) {
        return -1;
    }
    cost.by_kind[FT_BYTES] = made->bytes;
    key.dtype = (uint16_t)pyft_made_dtype(made);
    key.op_class = FT_CLASS_STATED;
    return add(thread, key, &cost, 1);
}

int
pyft_count_call(pyft_thread *thread, uint32_t number, PyObject *args, PyObject *kwargs,
                PyObject *result)
{
    pyft_counter *counter = thread->counter;
    pyft_counting *counting = counter->state->counting;
    const pyft_op *op = counting->ops.items[number];
    pyft_place place;
    if (pyft_place_of(thread, &counting->torch, &place) < 0) {
        return -1;
    }
    pyft_calls_place(counter->calls, thread->call, &place);
    ft_work_key key = {.op = number,
                       .module = place.module,
                       .phase = (uint8_t)place.phase,
                       .op_class = FT_CLASS_DATA};
    if (thread->units > 0 && place.phase == FT_PHASE_FORWARD) {
        return 0; /* the rule of the module's class stands for it */
    }
    counter->operations++;
    PyObject *formula = pyft_formula_of(counter, op);
    if (formula == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (op->kind == PYFT_OP_VIEW && formula == NULL) {
        ft_cost nothing = {0};
        return add(thread, key, &nothing, 1);
    }
    pyft_made made;
    made.state = counter->state;
    made.op = op;
    made.args = args;
    made.kwargs = kwargs;
    made.result = result;
    made.element = -1;
    made.causal = counter->causal;
    if (formula != NULL) {
        Py_INCREF(formula); /* it may be replaced while it runs */
        int counted = count_stated(thread, &made, key, formula);
        Py_DECREF(formula);
        return counted;
    }
    Py_ssize_t elements = op->each ? pyft_made_elements(&made) : 0;
    if (!op->each) {
        return count_element(thread, &made, key);
    }
    for (made.element = 0; made.element < elements; made.element++) {
        if (count_element(thread, &made, key) < 0) {
            return -1;
        }
    }
    return 0;
}

int
pyft_count_unit(pyft_thread *thread, PyObject *module, PyObject *args, PyObject *output)
{
    pyft_counter *counter = thread->counter;
    PyObject *ruled = pyft_ruled_class(&counter->state->counting->ops, module);
    uint32_t number;
    const pyft_op *op = ruled == NULL ? NULL : pyft_op_of(counter->state, ruled, &number);
    if (op == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    ft_cost cost = {0};
    ft_class op_class;
    PyObject *result = PyObject_CallFunctionObjArgs(op->user_rule, module, args, output, NULL);
    if (user_cost(result, &cost, &op_class) < 0) {
        return -1;
    }
    ft_work_key key = {.op = number, .phase = FT_PHASE_FORWARD, .op_class = (uint8_t)op_class};
    counter->operations++;
    if (pyft_modules_find(&counter->modules, module, &key.module) < 0) {
        return -1;
    }
    thread->call = 0;
    if (counter->calls != NULL) {
        double now = pyft_now(); /* what ran inside has its own times */
        const pyft_place place = {FT_PHASE_FORWARD, key.module};
        thread->call = pyft_calls_append(counter->calls, number, now, now);
        if (thread->call == 0) {
            return -1;
        }
        pyft_calls_place(counter->calls, thread->call, &place);
    }
    return add(thread, key, &cost, 1);
}
