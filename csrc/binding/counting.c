/* What a call of an operation cost: its rules evaluated, and the rows of the tally. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>

/* ---- rules ---- */

PyObject *
pyft_formula_of(const pyft_counter *counter, const pyft_op *op)
{
    return counter->formulas == NULL ? NULL
                                     : PyDict_GetItemWithError(counter->formulas, op->packet);
}

/* Integers and booleans are no floating point numbers; a complex multiplication is four, and two
 * additions. */
static int
fit_to_numbers(ft_cost *cost, pyft_made *made, pyft_number_kind numbers, unsigned flags)
{
    if (flags & FT_ROW_ARGUMENT && made->tensor_count > 0) {
        int dtype = pyft_made_argument_dtype(made);
        if (dtype < 0) {
            return -1;
        }
        numbers = made->state->counting->dtypes.items[dtype].kind;
    }
    if (flags & FT_ROW_REAL && numbers == PYFT_COMPLEX) {
        return 0;
    }
    if (numbers == PYFT_INTEGER) {
        memset(cost, 0, sizeof *cost);
    }
    else if (numbers == PYFT_COMPLEX) {
        ft_cost_complex(cost, (flags & FT_ROW_PRODUCTS) != 0);
    }
    return 0;
}

/* In place of a shape, how many values are stored, where the role takes that. */
static ft_status
use_stored(const pyft_made *made, ft_role_kind role, ft_source_kind source, ft_operand *operand)
{
    bool of_result = source == FT_FROM_OUTPUT, of_argument = source == FT_FROM_INPUT;
    if (!operand->present || !(of_result || of_argument) ||
        (role != FT_STORED && role != FT_ELEMENTS)) {
        return FT_OK;
    }
    int64_t entries = of_result ? made->result_entries : made->argument_entries;
    if (of_result && entries == PYFT_DENSE && role == FT_ELEMENTS) {
        entries = made->argument_entries;
    }
    if (entries != PYFT_DENSE) {
        operand->is_number = true;
        operand->number = (uint64_t)entries;
    }
    return entries == PYFT_UNREADABLE ? FT_BAD_SHAPE : FT_OK;
}

static ft_status
read_operand(pyft_made *made, int row, int role, int64_t *dims, ft_operand *operand)
{
    if (pyft_made_operand(made, row, role, dims, operand) < 0) {
        /* Sizes that are not known, say: the rule does not fit. */
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return FT_NO_MEMORY;
        }
        PyErr_Clear();
        return FT_BAD_SHAPE;
    }
    const ft_map_row *rule = made->op->rows[row];
    return made->is_sparse ? use_stored(made, rule->formula->roles[role].kind,
                                        rule->sources[role].kind, operand)
                           : FT_OK;
}

static ft_status
row_cost(pyft_made *made, int row, ft_cost *cost)
{
    const pyft_op *op = made->op;
    ft_operand operands[FT_MAX_ROLES];
    int64_t dims[FT_MAX_ROLES][FT_MAX_DIMS];
    int read = 0;
    ft_status status = FT_OK;
    memcpy(operands, op->constants[row], sizeof operands);
    while (read < op->read_counts[row] && status == FT_OK) {
        int role = op->read[row][read++];
        status = read_operand(made, row, role, dims[role], &operands[role]);
    }
    if (status == FT_OK) {
        status = ft_formula_evaluate(op->rows[row]->formula, operands, cost);
    }
    while (read-- > 0) {
        int role = op->read[row][read];
        pyft_operand_free(dims[role], &operands[role]);
    }
    return status;
}

/* ---- one call ---- */

int
pyft_add_work(const pyft_thread *thread, ft_work_key key, const ft_cost *cost, uint64_t calls)
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
add_unknown(const pyft_thread *thread, pyft_made *made, ft_work_key key)
{
    ft_cost cost = {0};
    if (pyft_made_bytes(made) < 0) {
        return -1;
    }
    cost.by_kind[FT_BYTES] = made->bytes;
    key.op_class = FT_CLASS_UNKNOWN;
    thread->counter->tally.unknown_operations++;
    return pyft_note_shapes(thread->counter->unknown, made) < 0
               ? -1
               : pyft_add_work(thread, key, &cost, made->element <= 0);
}

/* 1 where the rules fit, 0 where they don't; -1 with an exception. */
static int
row_costs(pyft_made *made, ft_cost *costs)
{
    ft_status status = FT_OK;
    for (int row = 0; row < made->op->row_count && status == FT_OK; row++) {
        status = row_cost(made, row, &costs[row]);
    }
    return PyErr_Occurred() ? -1 : status == FT_OK; /* an exception: an interrupt */
}

static int
add_rows(const pyft_thread *thread, pyft_made *made, ft_work_key key, ft_cost *costs,
         pyft_number_kind numbers)
{
    uint8_t phase = key.phase;
    for (int row = 0; row < made->op->row_count; row++) {
        const ft_map_row *rule = made->op->rows[row];
        if (fit_to_numbers(&costs[row], made, numbers, rule->flags) < 0) {
            return -1;
        }
        if (row == 0) {
            costs[row].by_kind[FT_BYTES] = made->bytes;
        }
        key.op_class = (uint8_t)rule->formula->op_class;
        key.phase = rule->flags & FT_ROW_RECOMPUTED ? FT_PHASE_RECOMPUTE : phase;
        if (pyft_add_work(thread, key, &costs[row], row == 0 && made->element <= 0) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
count_rows(const pyft_thread *thread, pyft_made *made, ft_work_key key, pyft_number_kind numbers)
{
    ft_cost costs[FT_MAX_ROWS];
    int fits = row_costs(made, costs);
    if (fits < 0 || pyft_made_bytes(made) < 0) {
        return -1;
    }
    if (fits && made->is_sparse) {
        fits = row_costs(made, costs); /* some of its tensors turned out to be sparse */
    }
    if (fits <= 0) {
        return fits < 0 ? -1 : add_unknown(thread, made, key);
    }
    if (made->varies || made->is_sparse) {
        thread->counter->varying = made->op->name;
    }
    if (made->bounded && pyft_note_shapes(thread->counter->bounded, made) < 0) {
        return -1;
    }
    return add_rows(thread, made, key, costs, numbers);
}

static int
count_element(const pyft_thread *thread, pyft_made *made, ft_work_key key)
{
    int dtype = pyft_made_read(made) < 0 ? -1 : pyft_made_dtype(made);
    if (dtype < 0) {
        return -1;
    }
    key.dtype = (uint16_t)dtype;
    pyft_number_kind numbers = made->state->counting->dtypes.items[key.dtype].kind;
    if (made->op->user_rule == NULL && made->op->kind == PYFT_OP_COUNTED) {
        return count_rows(thread, made, key, numbers);
    }
    ft_cost cost = {0};
    ft_class op_class = FT_CLASS_DATA;
    if (made->op->user_rule != NULL) {
        if (pyft_user_cost(made->op, pyft_call_rule(made, made->op->user_rule), &cost, &op_class) <
            0) {
            return -1;
        }
    }
    else if (numbers != PYFT_INTEGER) {
        return add_unknown(thread, made, key);
    }
    if (pyft_made_bytes(made) < 0) {
        return -1;
    }
    cost.by_kind[FT_BYTES] = made->bytes;
    key.op_class = (uint8_t)op_class;
    return pyft_add_work(thread, key, &cost, made->element <= 0);
}

static int
count_stated(const pyft_thread *thread, pyft_made *made, ft_work_key key, PyObject *formula)
{
    ft_cost cost = {0};
    int dtype = pyft_made_read(made) < 0 ? -1 : pyft_made_dtype(made);
    if (dtype < 0 || pyft_made_bytes(made) < 0) {
        return -1;
    }
    PyObject *flops = pyft_call_rule(made, formula);
    int status =
        flops == NULL ? -1 : pyft_to_u128(flops, "result of the formula", &cost.by_kind[FT_ARITH]);
    Py_XDECREF(flops);
    if (status < 0) {
        return -1;
    }
    cost.by_kind[FT_BYTES] = made->bytes;
    key.dtype = (uint16_t)dtype;
    key.op_class = FT_CLASS_STATED;
    return pyft_add_work(thread, key, &cost, 1);
}

/* aten.index gives as many elements as a mask has, and else as many as it is given indices. */
static bool
depends_on_data(const pyft_torch *torch, const pyft_op *op, PyObject *args)
{
    PyObject *indices = PyTuple_GET_SIZE(args) > 1 ? PyTuple_GET_ITEM(args, 1) : NULL;
    if (PyUnicode_CompareWithASCIIString(op->packet, "aten.index") != 0 || indices == NULL ||
        !PyList_Check(indices)) {
        return true;
    }
    bool masked = false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(indices) && !masked; i++) {
        PyObject *index = PyList_GET_ITEM(indices, i);
        PyObject *dtype = index == Py_None ? NULL : PyObject_GetAttrString(index, "dtype");
        masked = dtype != NULL && (dtype == torch->bool_dtype || dtype == torch->byte_dtype);
        Py_XDECREF(dtype);
        PyErr_Clear();
    }
    return masked;
}

/* A graph that is recorded from tensors without data is no work; -1 with an exception. */
static int
is_traced(const pyft_torch *torch, PyObject *result)
{
    bool listed =
        (PyTuple_Check(result) || PyList_Check(result)) && PySequence_Fast_GET_SIZE(result) > 0;
    PyObject *first = listed ? PySequence_Fast_GET_ITEM(result, 0) : result;
    if ((PyObject *)Py_TYPE(first) == torch->tensor_type ||
        !PyObject_TypeCheck(first, (PyTypeObject *)torch->fake_type)) {
        return 0;
    }
    PyObject *tracer = PyObject_CallOneArg(torch->active_mode, torch->proxy_key);
    PyObject *exporting = tracer != Py_None ? Py_XNewRef(tracer) : pyft_ask(torch->exporting);
    int traced = exporting == NULL ? -1 : tracer != Py_None || exporting == Py_True;
    Py_XDECREF(tracer);
    Py_XDECREF(exporting);
    return traced;
}

/* Adds up the tensors of a list; 0 where they have no dtype or layout in common, or do not say. */
static int
read_list(pyft_made *made, Py_ssize_t elements, ft_u128 *bytes, int *dtype)
{
    int like = pyft_made_has_options_each(made) ? 0 : 1;
    *bytes = FT_U128_ZERO;
    *dtype = -1;
    made->list_numel = 0;
    for (made->element = 0; made->element < elements && like > 0; made->element++) {
        like = pyft_made_read(made) < 0 ? -1 : pyft_made_add_numel(made);
        int own = like <= 0 ? -1 : pyft_made_dtype(made);
        if (like > 0 && (own < 0 || pyft_made_bytes(made) < 0)) {
            like = -1;
        }
        else if (like > 0 && (made->is_sparse || (*dtype >= 0 && own != *dtype))) {
            like = 0;
        }
        *dtype = own;
        *bytes = ft_u128_add(*bytes, made->bytes);
    }
    return like;
}

/* Evaluates the rule once for a whole list; 0 where its tensors have to be counted one by one. */
static int
count_list(const pyft_thread *thread, pyft_made *made, ft_work_key key, Py_ssize_t elements)
{
    ft_cost cost;
    ft_u128 bytes;
    int dtype, like = read_list(made, elements, &bytes, &dtype);
    made->element = 0;
    if (like <= 0) {
        return like;
    }
    made->whole_list = true;
    int fits = row_costs(made, &cost);
    made->whole_list = false;
    if (fits <= 0) {
        return fits;
    }
    made->bytes = bytes;
    key.dtype = (uint16_t)dtype;
    pyft_number_kind numbers = made->state->counting->dtypes.items[dtype].kind;
    return add_rows(thread, made, key, &cost, numbers) < 0 ? -1 : 1;
}

int
pyft_count_call(pyft_thread *thread, uint32_t number, PyObject *args, PyObject *kwargs,
                PyObject *result)
{
    pyft_counter *counter = thread->counter;
    pyft_counting *counting = counter->state->counting;
    const pyft_op *op = counting->ops.items[number];
    pyft_place place;
    if (thread->units > 0) {
        pyft_scope_cut(thread);
    }
    int traced = is_traced(&counting->torch, result);
    if (traced != 0) {
        return traced < 0 ? -1 : 0;
    }
    if (pyft_place_of(thread, op, args, &place) < 0) {
        return -1;
    }
    pyft_calls_place(counter->calls, thread->call, &place);
    if (op->keeps_versions && pyft_raise_versions(&counting->torch, args) < 0) {
        return -1;
    }
    if (op->varies && depends_on_data(&counter->state->counting->torch, op, args)) {
        counter->varying = op->name;
    }
    ft_work_key key = {.op = number,
                       .module = place.module,
                       .phase = (uint8_t)place.phase,
                       .op_class = FT_CLASS_DATA};
    if (thread->units > 0 && place.phase != FT_PHASE_BACKWARD) {
        return 0; /* the rule of the module's class stands for it */
    }
    counter->tally.operations++;
    PyObject *formula = pyft_formula_of(counter, op);
    if (formula == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (op->kind == PYFT_OP_VIEW && formula == NULL) {
        ft_cost nothing = {0};
        return pyft_add_work(thread, key, &nothing, 1);
    }
    if (counter->convention->rules != NULL && op->own != NULL && op->user_rule == NULL) {
        op = op->own;
    }
    pyft_made made;
    made.state = counter->state;
    made.op = op;
    made.args = args;
    made.kwargs = kwargs;
    made.result = result;
    made.element = -1;
    made.whole_list = false;
    made.by_numel = true;
    made.causal = counter->causal;
    made.bounded = made.varies = false;
    if (formula != NULL) {
        return count_stated(thread, &made, key, formula);
    }
    Py_ssize_t elements = op->each ? pyft_made_elements(&made) : 0;
    if (!op->each) {
        return count_element(thread, &made, key);
    }
    int counted = op->in_proportion && elements > 1 ? count_list(thread, &made, key, elements) : 0;
    if (counted != 0) {
        return counted < 0 ? -1 : 0;
    }
    for (made.element = 0; made.element < elements; made.element++) {
        if (count_element(thread, &made, key) < 0) {
            return -1;
        }
    }
    return 0;
}
