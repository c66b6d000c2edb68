/* Builds the list of layers: each module once, with its parameters and the rule of its class. */
/* SPDX-License-Identifier: MIT */
#include "walk.h"

#include "maps/maps.h"

#include <string.h>

/* No layer is known here by name, and modules are read through __dict__, _parameters and _modules,
 * never through properties: to read a parametrized weight would change it. */

PyObject *
pyft_own_attribute(PyObject *module, const char *name)
{
    PyObject *dict = PyObject_GetAttrString(module, "__dict__");
    PyObject *value = NULL;
    if (dict != NULL && PyDict_Check(dict)) {
        value = Py_XNewRef(PyDict_GetItemString(dict, name));
    }
    Py_XDECREF(dict);
    PyErr_Clear();
    return value;
}

/* The items of a mapping that torch keeps on a module (`_parameters`, `_modules`); a new list. */
static PyObject *
module_items(PyObject *module, const char *name)
{
    PyObject *mapping = PyObject_GetAttrString(module, name);
    PyObject *items = mapping == NULL ? NULL : PyMapping_Items(mapping);
    Py_XDECREF(mapping);
    return items;
}

static int
count_own_parameters(PyObject *module, uint64_t *count)
{
    PyObject *items = module_items(module, "_parameters");
    *count = 0;
    if (items == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *parameter = PyTuple_GetItem(PyList_GET_ITEM(items, i), 1);
        PyObject *elements = parameter == NULL || parameter == Py_None
                                 ? NULL
                                 : PyObject_CallMethod(parameter, "numel", NULL);
        if (elements != NULL) {
            *count += PyLong_AsUnsignedLongLong(elements);
            Py_DECREF(elements);
        }
        if (PyErr_Occurred()) {
            Py_DECREF(items);
            return -1;
        }
    }
    Py_DECREF(items);
    return 0;
}

/* The names of its parameters that no layer of the map has, joined; "" where there are none. */
static PyObject *
unknown_parameters(PyObject *module)
{
    PyObject *items = module_items(module, "_parameters");
    PyObject *names = items == NULL ? NULL : PyList_New(0);
    for (Py_ssize_t i = 0; names != NULL && i < PyList_GET_SIZE(items); i++) {
        PyObject *name, *parameter;
        const char *text = NULL;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(items, i), "UO", &name, &parameter) ||
            (text = PyUnicode_AsUTF8(name)) == NULL ||
            (parameter != Py_None && !ft_map_torch_nn_parameter(text) &&
             PyList_Append(names, name) < 0)) {
            Py_CLEAR(names);
        }
    }
    PyObject *comma = names == NULL ? NULL : PyUnicode_FromString(", ");
    PyObject *joined = comma == NULL ? NULL : PyUnicode_Join(comma, names);
    Py_XDECREF(items);
    Py_XDECREF(names);
    Py_XDECREF(comma);
    return joined;
}

/* A subclass whose forward is its own may compute what the rule of its base knows nothing of: with
 * more parameters than the base has, or with any where the rule says that nothing is computed. */
static int
note_own_forward(layer *target, PyObject *base)
{
    PyObject *unknown = unknown_parameters(target->module);
    if (unknown == NULL) {
        return -1;
    }
    bool has_more = PyUnicode_GET_LENGTH(unknown) > 0;
    bool is_free = ft_formula_role_count(target->rows[0]->formula) == 0;
    target->incomplete = has_more || (is_free && target->own_parameters > 0);
    target->note = PyUnicode_FromFormat(
        "counted as %U%s%U", base, has_more ? ", without " : "; its forward is its own", unknown);
    Py_DECREF(unknown);
    return target->note == NULL ? -1 : 0;
}

/* "package.module.Class" of a type; a new reference. */
static PyObject *
qualified_name(PyObject *type)
{
    PyObject *module = PyObject_GetAttrString(type, "__module__");
    PyObject *name = PyObject_GetAttrString(type, "__qualname__");
    PyObject *result =
        module == NULL || name == NULL ? NULL : PyUnicode_FromFormat("%S.%U", module, name);
    Py_XDECREF(module);
    Py_XDECREF(name);
    return result;
}

/* Whether some class of the MRO defines forward, and whether torch or somebody else wrote it. */
static int
inspect_forward(PyObject *mro, bool *defined, bool *foreign)
{
    *defined = *foreign = false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *type = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        PyObject *forward =
            type->tp_dict == NULL ? NULL : PyDict_GetItemString(type->tp_dict, "forward");
        if (forward == NULL) {
            continue;
        }
        PyObject *module = PyObject_GetAttrString((PyObject *)type, "__module__");
        const char *text = module == NULL ? NULL : PyUnicode_AsUTF8(module);
        if (text == NULL) {
            Py_XDECREF(module);
            return -1;
        }
        *foreign = strncmp(text, "torch.", 6) != 0;
        *defined = strcmp(text, "torch.nn.modules.module") != 0;
        Py_DECREF(module);
        return 0;
    }
    return 0;
}

/* Of the registry, or the row of the walk's own table, which *row then holds. */
static const ft_map_row *const *
find_rows(const walk *self, const pyft_state *state, const char *name, const ft_map_row **row,
          size_t *found)
{
    const char *table = self->table == NULL ? NULL : PyUnicode_AsUTF8(self->table);
    if (table == NULL) {
        return ft_registry_find(&state->registry, name, found);
    }
    *row = ft_flops_counter_row(table, name);
    *found = *row != NULL;
    return row;
}

/* The first class of the MRO that has a rule decides; a user's rule goes before ours. */
static int
find_rule(walk *self, const pyft_state *state, layer *target)
{
    PyObject *mro = Py_TYPE(target->module)->tp_mro;
    bool foreign;
    if (inspect_forward(mro, &target->has_forward, &foreign) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro) && !pyft_has_rule(target); i++) {
        PyObject *type = PyTuple_GET_ITEM(mro, i);
        PyObject *rule = PyDict_GetItemWithError(self->user_rules, type);
        PyObject *name = NULL;
        if (rule != NULL) {
            target->user_rule = Py_NewRef(rule);
            return 0;
        }
        const char *text = NULL;
        if (PyErr_Occurred() || (name = qualified_name(type)) == NULL ||
            (text = PyUnicode_AsUTF8(name)) == NULL) {
            Py_XDECREF(name);
            return -1;
        }
        size_t found;
        const ft_map_row *row, *const *rows = find_rows(self, state, text, &row, &found);
        bool left_out = self->cnn_only && found > 0 && !(rows[0]->flags & FT_ROW_CNN) &&
                        ft_class_is_contraction(rows[0]->formula->op_class);
        for (size_t j = 0; j < found && j < FT_MAX_ROWS && !left_out; j++) {
            target->rows[target->row_count++] = rows[j];
        }
        int result = target->row_count > 0 && foreign ? note_own_forward(target, name) : 0;
        Py_DECREF(name);
        if (found > 0 || result < 0) {
            return result;
        }
    }
    return 0;
}

static layer *
append_layer(walk *self)
{
    if (self->count == self->capacity) {
        Py_ssize_t capacity = self->capacity == 0 ? 64 : 2 * self->capacity;
        layer *layers = PyMem_Realloc(self->layers, (size_t)capacity * sizeof *layers);
        if (layers == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        self->layers = layers;
        self->capacity = capacity;
    }
    layer *target = &self->layers[self->count++];
    memset(target, 0, sizeof *target);
    return target;
}

/* Modules compiled by torch.jit tell the class they were made from, by which they are known here.
 */
static int
name_class(layer *target)
{
    PyObject *original = NULL;
    target->class_name = PyObject_GetAttrString((PyObject *)Py_TYPE(target->module), "__name__");
    if (PyObject_HasAttrString((PyObject *)Py_TYPE(target->module), "original_name")) {
        original = PyObject_GetAttrString(target->module, "original_name");
    }
    if (original != NULL && target->class_name != NULL) {
        target->compiled = true;
        target->note = PyUnicode_FromString("compiled by torch.jit: its inside can't be observed");
        Py_SETREF(target->class_name, PyUnicode_FromFormat("%U(%S)", target->class_name, original));
    }
    Py_XDECREF(original);
    return PyErr_Occurred() ? -1 : 0;
}

int
pyft_walk_add_module(walk *self, const pyft_state *state, PyObject *module, PyObject *path,
                     Py_ssize_t parent)
{
    PyObject *key = PyLong_FromVoidPtr(module);
    int known = key == NULL ? -1 : PyDict_Contains(self->index, key);
    if (known != 0) {
        Py_XDECREF(key);
        return known < 0 ? -1 : 0;
    }
    Py_ssize_t position = self->count;
    PyObject *number = PyLong_FromSsize_t(position);
    int result = number == NULL ? -1 : PyDict_SetItem(self->index, key, number);
    Py_DECREF(key);
    Py_XDECREF(number);
    layer *target = result < 0 ? NULL : append_layer(self);
    if (target == NULL) {
        return -1;
    }
    target->module = Py_NewRef(module);
    target->path = Py_NewRef(path);
    target->parent = parent;
    if (name_class(target) < 0 || count_own_parameters(module, &target->own_parameters) < 0 ||
        find_rule(self, state, target) < 0) {
        return -1;
    }
    PyObject *children = module_items(module, "_modules");
    if (children == NULL || Py_EnterRecursiveCall(" while walking the modules")) {
        Py_XDECREF(children);
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(children) && result == 0; i++) {
        PyObject *name, *child;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(children, i), "OO", &name, &child)) {
            result = -1;
        }
        else if (child != Py_None) {
            PyObject *child_path = PyUnicode_GET_LENGTH(path) == 0
                                       ? PyObject_Str(name)
                                       : PyUnicode_FromFormat("%U.%S", path, name);
            result = child_path == NULL
                         ? -1
                         : pyft_walk_add_module(self, state, child, child_path, position);
            Py_XDECREF(child_path);
        }
    }
    Py_LeaveRecursiveCall();
    Py_DECREF(children);
    target = &self->layers[position]; /* it may have moved */
    bool holder = self->count > position + 1 && target->own_parameters > 0;
    if (result == 0 && holder && !pyft_has_rule(target) && target->note == NULL) {
        target->note = PyUnicode_FromString("parameters of its own, beside its layers");
        result = target->note == NULL ? -1 : 0;
    }
    return result;
}
