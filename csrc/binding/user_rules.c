/* register_rule() and what explain() shows: the rules of an operation, from outside. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>

/* ---- register_rule ---- */

/* A class of modules as it is; an operation as its dotted name: "mylib.scan", "aten.add.Tensor". */
static PyObject *
rule_key(PyObject *target)
{
    if (PyType_Check(target)) {
        return Py_NewRef(target);
    }
    PyObject *text = PyObject_Str(target);
    PyObject *key = text == NULL ? NULL : PyObject_CallMethod(text, "replace", "ss", "::", ".");
    Py_XDECREF(text);
    if (key != NULL && PyUnicode_FindChar(key, '.', 0, PyUnicode_GET_LENGTH(key), 1) < 1) {
        PyErr_Format(PyExc_ValueError,
                     "target must be an operation such as 'mylib::scan' or a class of modules, not "
                     "%R",
                     target);
        Py_CLEAR(key);
    }
    return key;
}

/* "mylib.scan" stands for its overloads, "mylib.scan.default". */
static bool
covers(PyObject *wide, PyObject *narrow)
{
    if (!PyUnicode_Check(wide) || !PyUnicode_Check(narrow)) {
        return false;
    }
    Py_ssize_t length = PyUnicode_GET_LENGTH(wide);
    return length < PyUnicode_GET_LENGTH(narrow) && PyUnicode_READ_CHAR(narrow, length) == '.' &&
           PyUnicode_Tailmatch(narrow, wide, 0, length, -1) == 1;
}

static int
is_known(const pyft_state *state, PyObject *key)
{
    PyObject *rules = state->counting->ops.user_rules, *other, *rule;
    int known = PyDict_Contains(rules, key);
    for (Py_ssize_t at = 0; known == 0 && PyDict_Next(rules, &at, &other, &rule);) {
        known = covers(key, other) || covers(other, key);
    }
    const char *name = known == 0 && PyUnicode_Check(key) ? PyUnicode_AsUTF8(key) : NULL;
    if (name != NULL) {
        known = pyft_has_rows(&state->registry, name);
    }
    return PyErr_Occurred() ? -1 : known;
}

/* Operations that were seen before follow the new rule from now on. */
static int
follow_rules(const pyft_ops *ops)
{
    int result = 0;
    for (uint32_t i = 0; i < ops->count && result == 0; i++) {
        result = pyft_op_follow_rule(ops, ops->items[i]);
    }
    return result;
}

PyObject *
pyft_register_rule(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"target", "fn", "override", NULL};
    pyft_state *state = PyModule_GetState(module);
    PyObject *target, *rule;
    int override = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$p:register_rule", names, &target, &rule,
                                     &override)) {
        return NULL;
    }
    if (!PyCallable_Check(rule)) {
        PyErr_Format(PyExc_TypeError, "fn must be callable, not %R", rule);
        return NULL;
    }
    PyObject *key = pyft_counting_of(state) == NULL ? NULL : rule_key(target);
    PyObject *checked = key == NULL
                            ? NULL
                            : pyft_call_helper("flops_tracker._operations", "check_rule_target",
                                               "(OOO)", target, key, rule);
    if (checked == NULL) {
        Py_CLEAR(key);
    }
    Py_XDECREF(checked);
    int known = key == NULL ? -1 : is_known(state, key);
    if (known > 0 && !override) {
        PyErr_Format(PyExc_ValueError, "%R has a rule already; pass override=True to replace it",
                     target);
        known = -1;
    }
    int set = known >= 0 ? PyDict_SetItem(state->counting->ops.user_rules, key, rule) : -1;
    if (set == 0) {
        state->counting->ops.has_class_rules |= PyType_Check(key) != 0;
        set = follow_rules(&state->counting->ops);
    }
    Py_XDECREF(key);
    return set < 0 ? NULL : Py_NewRef(Py_None);
}

/* What register_rule was given rules for: classes of modules, and dotted names of operations. */
PyObject *
pyft_ruled(PyObject *module, PyObject *unused)
{
    (void)unused;
    pyft_state *state = PyModule_GetState(module);
    return pyft_counting_of(state) == NULL ? NULL : PyDict_Keys(state->counting->ops.user_rules);
}

/* ---- explain ---- */

static PyObject *
operand_value(const ft_operand *operand)
{
    if (!operand->present) {
        return Py_NewRef(Py_None);
    }
    if (operand->is_number) {
        return PyLong_FromUnsignedLongLong(operand->number);
    }
    PyObject *shape = PyTuple_New(operand->shape.ndim);
    for (int i = 0; shape != NULL && i < operand->shape.ndim; i++) {
        PyObject *size = PyLong_FromLongLong(operand->shape.dims[i]);
        if (size == NULL) {
            Py_CLEAR(shape);
            break;
        }
        PyTuple_SET_ITEM(shape, i, size);
    }
    return shape;
}

/* {role: value} of one row. */
static PyObject *
operands_dict(pyft_made *made, int row)
{
    const ft_formula *formula = made->op->rows[row]->formula;
    PyObject *dict = PyDict_New();
    for (int role = 0; dict != NULL && role < ft_formula_role_count(formula); role++) {
        ft_operand operand = {0};
        int64_t dims[FT_MAX_DIMS];
        PyObject *value =
            pyft_made_operand(made, row, role, dims, &operand) < 0 ? NULL : operand_value(&operand);
        if (value == NULL || PyDict_SetItemString(dict, formula->roles[role].name, value) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(value);
        pyft_operand_free(dims, &operand);
    }
    return dict;
}

/* A list of (formula, equation, {role: value}) of a call that was made. */
PyObject *
pyft_explain_call(PyObject *module, PyObject *args)
{
    pyft_state *state = PyModule_GetState(module);
    PyObject *overload, *arguments, *kwargs, *result;
    uint32_t number;
    if (!PyArg_ParseTuple(args, "OO!O!O", &overload, &PyTuple_Type, &arguments, &PyDict_Type,
                          &kwargs, &result) ||
        pyft_counting_of(state) == NULL) {
        return NULL;
    }
    const pyft_op *op = pyft_op_of(state, overload, &number);
    if (op == NULL) {
        return NULL;
    }
    pyft_made made;
    made.state = state;
    made.op = op;
    made.args = arguments;
    made.kwargs = kwargs;
    made.result = result;
    made.element = op->each ? 0 : -1;
    made.whole_list = made.by_numel = false; /* an explanation has shapes */
    made.causal = made.bounded = made.varies = false;
    PyObject *list = pyft_made_read(&made) < 0 ? NULL : PyList_New(op->row_count);
    for (int row = 0; list != NULL && row < op->row_count; row++) {
        const ft_formula *formula = op->rows[row]->formula;
        PyObject *operands = operands_dict(&made, row);
        PyObject *item = operands == NULL
                             ? NULL
                             : Py_BuildValue("(ssN)", formula->name, formula->equation, operands);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, row, item);
    }
    return list;
}
