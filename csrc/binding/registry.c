/* rules(), formulas() and conventions(): the core's tables as Python objects. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

#include "maps/maps.h"

static PyStructSequence_Field rule_fields[] = {
    {"name", "the framework's name of the layer"},
    {"formula", "the name of the formula"},
    {"equation", "the formula itself, as cost by kind"},
    {"op_class", "matmul, conv, attention, ..."},
    {"source", "where the formula comes from"},
    {"examples", "worked examples, a tuple of str"},
    {"operands", "dict: where the rule finds what the formula needs"},
    {NULL, NULL},
};
static PyStructSequence_Desc rule_desc = {
    "flops_tracker.Rule", "Which formula counts a layer or an operation.", rule_fields, 7};

static PyStructSequence_Field convention_fields[] = {
    {"name", "its name"},
    {"text", "what it means"},
    {"contractions", "dict: FLOPs per unit of each kind of work in contractions"},
    {"others", "dict: the same for every other class"},
    {NULL, NULL},
};
static PyStructSequence_Desc convention_desc = {
    "flops_tracker.Convention", "How a cost by kind is read as FLOPs.", convention_fields, 4};

static PyObject *
examples_of(const ft_formula *formula)
{
    Py_ssize_t count = 0;
    while (count < FT_MAX_EXAMPLES && formula->examples[count].text != NULL) {
        count++;
    }
    PyObject *examples = PyTuple_New(count);
    for (Py_ssize_t i = 0; examples != NULL && i < count; i++) {
        PyObject *text = PyUnicode_FromString(formula->examples[i].text);
        if (text == NULL) {
            Py_CLEAR(examples);
            break;
        }
        PyTuple_SET_ITEM(examples, i, text);
    }
    return examples;
}

static PyObject *
source_text(const ft_source *source)
{
    switch (source->kind) {
    case FT_FROM_OUTPUT:
        return source->index == 0 ? PyUnicode_FromString("output")
                                  : PyUnicode_FromFormat("output %d", source->index);
    case FT_FROM_CONSTANT:
        return PyUnicode_FromFormat("%d", source->index);
    case FT_FROM_PRESENCE:
        return PyUnicode_FromFormat("with %s", source->name);
    case FT_FROM_SCALE:
        return PyUnicode_FromFormat("%s other than 1", source->name);
    case FT_FROM_NONZERO:
        return PyUnicode_FromFormat("%s other than 0", source->name);
    case FT_FROM_ENTRIES:
        return PyUnicode_FromFormat("entries of %s", source->name);
    case FT_FROM_LENGTH:
        return PyUnicode_FromFormat("length of %s", source->name);
    case FT_FROM_OPTION:
        return PyUnicode_FromFormat("option %s", source->name);
    case FT_FROM_EQUALS:
        return PyUnicode_FromFormat("%s of %d", source->name, source->index);
    case FT_FROM_INFINITE:
        return PyUnicode_FromFormat("%s without bound", source->name);
    case FT_FROM_TEXT:
        return PyUnicode_FromFormat("%s of '%s'", source->name, ft_source_words(source));
    case FT_FROM_AXES:
        return PyUnicode_FromFormat("size along %s", source->name == NULL ? "all" : source->name);
    case FT_FROM_LENGTHS:
        return PyUnicode_FromFormat("differences of %s", source->name);
    case FT_FROM_BLOCKS:
        return PyUnicode_FromFormat("blocks of %s", source->name);
    case FT_FROM_NESTED:
        return PyUnicode_FromFormat("lengths in %s", source->name);
    case FT_FROM_PACKED:
        return PyUnicode_FromFormat("bias in %s", source->name);
    default:
        return PyUnicode_FromString(source->name == NULL ? "-" : source->name);
    }
}

/* {role: where it comes from}, without options that the row does not have; row may be NULL. */
static PyObject *
operands_of(const ft_map_row *row)
{
    PyObject *dict = PyDict_New();
    int roles = row == NULL ? 0 : ft_formula_role_count(row->formula);
    for (int role = 0; dict != NULL && role < roles; role++) {
        const ft_source *source = &row->sources[role];
        if (source->kind == FT_FROM_INPUT && source->name == NULL) {
            continue;
        }
        PyObject *text = source_text(source);
        if (text == NULL || PyDict_SetItemString(dict, row->formula->roles[role].name, text) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(text);
    }
    return dict;
}

static PyObject *
rule_record(pyft_state *state, const char *name, const ft_formula *formula, const ft_map_row *row)
{
    PyObject *fields[] = {
        PyUnicode_FromString(name),
        PyUnicode_FromString(formula->name),
        PyUnicode_FromString(formula->equation),
        PyUnicode_FromString(ft_class_name(formula->op_class)),
        PyUnicode_FromString(formula->source),
        examples_of(formula),
        operands_of(row),
    };
    return pyft_new_record(state->rule_type, fields, (Py_ssize_t)FT_COUNT_OF(fields));
}

/* Steals the item. */
static int
append(PyObject *list, PyObject *item)
{
    int result = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return result;
}

PyObject *
pyft_rules(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"pattern", NULL};
    pyft_state *state = PyModule_GetState(module);
    const char *pattern = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|z:rules", names, &pattern)) {
        return NULL;
    }
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < state->registry.count; i++) {
        const ft_map_row *row = state->registry.rows[i];
        bool wanted = pattern == NULL || strstr(row->name, pattern) != NULL ||
                      strstr(row->formula->name, pattern) != NULL;
        if (wanted && append(list, rule_record(state, row->name, row->formula, row)) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

PyObject *
pyft_formulas(PyObject *module, PyObject *unused)
{
    (void)unused;
    pyft_state *state = PyModule_GetState(module);
    size_t count;
    const ft_formula *const *formulas = ft_formulas(&count);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < count; i++) {
        if (append(list, rule_record(state, formulas[i]->name, formulas[i], NULL)) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *
weights_dict(const int8_t *weights)
{
    PyObject *dict = PyDict_New();
    for (int kind = 0; dict != NULL && kind < FT_KIND_COUNT; kind++) {
        PyObject *weight = PyLong_FromLong(weights[kind]);
        if (weight == NULL || PyDict_SetItemString(dict, ft_kind_name((ft_kind)kind), weight) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(weight);
    }
    return dict;
}

const ft_convention *
pyft_convention_named(const char *name)
{
    const ft_convention *found = ft_convention_find(name);
    if (found == NULL) {
        PyErr_Format(PyExc_ValueError,
                     "convention must be 'standard', 'exact', 'matmul', 'macs', 'layerwise' or "
                     "'flops_profiler', not '%s'",
                     name);
    }
    return found;
}

PyObject *
pyft_conventions(PyObject *module, PyObject *unused)
{
    (void)unused;
    pyft_state *state = PyModule_GetState(module);
    size_t count;
    const ft_convention *conventions = ft_conventions(&count);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *fields[] = {
            PyUnicode_FromString(conventions[i].name),
            PyUnicode_FromString(conventions[i].text),
            weights_dict(conventions[i].contractions),
            weights_dict(conventions[i].others),
        };
        PyObject *record =
            pyft_new_record(state->convention_type, fields, (Py_ssize_t)FT_COUNT_OF(fields));
        if (append(list, record) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* _update_flops(optimizer, parameters): a step by the table of compat.flops_counter. */
PyObject *
pyft_update_flops(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    PyObject *parameters;
    ft_operand operands[2] = {{.present = true, .is_number = true},
                              {.present = true, .is_number = true}};
    if (!PyArg_ParseTuple(args, "sO", &name, &parameters) ||
        pyft_to_u64(parameters, "parameters", &operands[0].number) < 0) {
        return NULL;
    }
    const ft_map_row *row = ft_flops_counter_row("optimizer", name);
    if (row == NULL) {
        PyErr_Format(PyExc_ValueError, "no row for the optimizer '%s'", name);
        return NULL;
    }
    ft_cost cost;
    operands[1].number = (uint64_t)row->sources[1].index;
    ft_status status = ft_formula_evaluate(row->formula, operands, &cost);
    return status != FT_OK ? pyft_raise(status, "a step of the optimizer")
                           : pyft_from_u128(ft_cost_read(&cost, row->formula->op_class,
                                                         ft_convention_find("layerwise")));
}

int
pyft_add_registry(PyObject *module, pyft_state *state)
{
    state->rule_type = pyft_new_record_type(&rule_desc);
    state->convention_type = pyft_new_record_type(&convention_desc);
    if (state->rule_type == NULL || state->convention_type == NULL ||
        PyModule_AddType(module, state->rule_type) < 0) {
        return -1;
    }
    return PyModule_AddType(module, state->convention_type);
}
