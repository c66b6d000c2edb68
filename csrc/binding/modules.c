/* The modules of a counter by number: those of its model, and those it met while counting. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

#include <string.h>

/* A row of flops_tracker._operations.module_tree, and the name; all borrowed. */
typedef struct {
    PyObject *module, *aliases, *name;
    int own_parameters, has_forward;
} tree_row;

/* ---- entries ---- */

static int
reserve_entry(pyft_modules *modules)
{
    if (modules->count < modules->capacity) {
        return 0;
    }
    uint32_t capacity = modules->capacity == 0 ? 64 : 2 * modules->capacity;
    pyft_module_entry *items = PyMem_Realloc(modules->items, capacity * sizeof *items);
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    modules->items = items;
    modules->capacity = capacity;
    return 0;
}

static void
clear_entry(pyft_module_entry *entry)
{
    Py_CLEAR(entry->reference);
    Py_CLEAR(entry->name);
    Py_CLEAR(entry->class_name);
    Py_CLEAR(entry->aliases);
}

/* The number in a dict, -1 where it has none, -2 with an exception. */
static long long
number_in(PyObject *dict, PyObject *key)
{
    PyObject *number = PyDict_GetItemWithError(dict, key);
    return number != NULL ? PyLong_AsLongLong(number) : PyErr_Occurred() ? -2 : -1;
}

static int
set_number(PyObject *dict, PyObject *key, uint32_t number)
{
    PyObject *value = PyLong_FromUnsignedLong(number);
    int result = value == NULL ? -1 : PyDict_SetItem(dict, key, value);
    Py_XDECREF(value);
    return result;
}

static bool
is_dead(const pyft_modules *modules, uint32_t number)
{
    return PyWeakref_GetObject(modules->items[number].reference) == Py_None;
}

/* The number of a module that is known; -1 where it is not, also where its address was another's.
 */
static long long
known_number(const pyft_modules *modules, PyObject *module)
{
    PyObject *key = PyLong_FromVoidPtr(module);
    long long number = key == NULL ? -2 : number_in(modules->numbers, key);
    Py_XDECREF(key);
    if (number >= 0 && PyWeakref_GetObject(modules->items[number].reference) != module) {
        return -1;
    }
    return number;
}

/* Makes an entry the module's: a new one, or that of a module that is no more. */
static int
fill_entry(pyft_modules *modules, uint32_t number, const tree_row *row, uint32_t parent)
{
    pyft_module_entry entry = {
        .reference = PyWeakref_NewRef(row->module, NULL),
        .name = Py_NewRef(row->name),
        .class_name = PyObject_GetAttrString((PyObject *)Py_TYPE(row->module), "__name__"),
        .aliases = Py_NewRef(row->aliases),
        .parent = parent,
        .own_parameters = row->own_parameters,
        .has_forward = row->has_forward,
    };
    PyObject *key = PyLong_FromVoidPtr(row->module);
    int result = -1;
    if (entry.reference != NULL && entry.class_name != NULL && key != NULL &&
        set_number(modules->numbers, key, number) == 0 &&
        set_number(modules->names, entry.name, number) == 0) {
        result = 0;
    }
    Py_XDECREF(key);
    if (result < 0) {
        clear_entry(&entry);
        return -1;
    }
    if (number < modules->count) {
        clear_entry(&modules->items[number]);
    }
    else {
        modules->count++;
    }
    modules->items[number] = entry;
    return 0;
}

/* ---- names ---- */

/* "Class", "Class (2)", ...; below a parent "parent.Class". */
static PyObject *
numbered(const pyft_modules *modules, PyObject *class_name, uint32_t parent, long number)
{
    PyObject *base = parent == 0
                         ? Py_NewRef(class_name)
                         : PyUnicode_FromFormat("%U.%U", modules->items[parent].name, class_name);
    if (base != NULL && number > 1) {
        Py_SETREF(base, PyUnicode_FromFormat("%U (%ld)", base, number));
    }
    return base;
}

enum { MANY = 4 };

/* The name of a module that was met: that of an earlier one of its class, where that is no more;
 * modules made for one call only share a row. */
static PyObject *
name_for(pyft_modules *modules, PyObject *module, uint32_t parent)
{
    PyObject *class_name = PyObject_GetAttrString((PyObject *)Py_TYPE(module), "__name__");
    PyObject *base = class_name == NULL ? NULL : numbered(modules, class_name, parent, 1);
    long long taken = base == NULL ? -2 : number_in(modules->found, base);
    long last = taken < 0 ? 0 : (long)taken;
    PyObject *name = NULL;
    for (long i = 1; taken != -2 && name == NULL && i <= last && i <= MANY; i++) {
        name = numbered(modules, class_name, parent, i);
        long long number = name == NULL ? -2 : number_in(modules->names, name);
        if (number == -2) {
            Py_CLEAR(name);
            break;
        }
        if (number == -1 || !is_dead(modules, (uint32_t)number)) {
            Py_CLEAR(name);
        }
    }
    if (name == NULL && !PyErr_Occurred() &&
        set_number(modules->found, base, (uint32_t)last + 1) == 0) {
        name = numbered(modules, class_name, parent, last + 1);
    }
    Py_XDECREF(class_name);
    Py_XDECREF(base);
    return name;
}

/* ---- trees ---- */

/* Whether a known module keeps its number as a part of a larger one: a model that was named at the
 * start does. What was met as a root begins anew in its place, with all that is below it; `moved`
 * says that this goes for its parent. */
static bool
keeps_number(const pyft_modules *modules, uint32_t number, bool moved)
{
    bool is_root = modules->items[number].parent == 0;
    return is_root ? modules->has_model && number == 1 : !moved;
}

/* The number for a module of that name: a dead one's, or a new one; parents come before children.
 */
static long long
number_for(pyft_modules *modules, PyObject *name, uint32_t parent)
{
    long long number = number_in(modules->names, name);
    if (number > (long long)parent && is_dead(modules, (uint32_t)number)) {
        return number;
    }
    return number == -2 || reserve_entry(modules) < 0 ? -2 : (long long)modules->count;
}

static int
add_row(pyft_modules *modules, const tree_row *row, uint32_t parent, uint32_t *number, bool *moved)
{
    long long known = known_number(modules, row->module);
    if (known >= 0 && keeps_number(modules, (uint32_t)known, *moved)) {
        *number = (uint32_t)known;
        *moved = false;
        return 0;
    }
    *moved = known >= 0;
    known = known == -2 ? -2 : number_for(modules, row->name, parent);
    *number = (uint32_t)known;
    return known < 0 ? -1 : fill_entry(modules, *number, row, parent);
}

/* A name is the parent's and the path from there. */
static int
add_rows(pyft_modules *modules, PyObject *rows, PyObject *root, uint32_t parent)
{
    Py_ssize_t count = PyList_GET_SIZE(rows);
    uint32_t *numbers = PyMem_Calloc((size_t)count, sizeof *numbers);
    bool *moved = PyMem_Calloc((size_t)count, sizeof *moved);
    int result = numbers == NULL || moved == NULL ? -1 : 0;
    if (result < 0) {
        PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count && result == 0; i++) {
        tree_row row = {0};
        PyObject *step;
        int above;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(rows, i), "OUiOpp", &row.module, &step, &above,
                              &row.aliases, &row.own_parameters, &row.has_forward)) {
            result = -1;
            break;
        }
        uint32_t parent_number = above < 0 ? parent : numbers[above];
        moved[i] = above >= 0 && moved[above];
        row.name = above < 0
                       ? Py_NewRef(root)
                       : PyUnicode_FromFormat("%U.%U", modules->items[parent_number].name, step);
        result =
            row.name == NULL ? -1 : add_row(modules, &row, parent_number, &numbers[i], &moved[i]);
        Py_XDECREF(row.name);
    }
    PyMem_Free(numbers);
    PyMem_Free(moved);
    return result;
}

int
pyft_modules_add_tree(pyft_modules *modules, PyObject *module, uint32_t parent)
{
    PyObject *rows = pyft_call_helper("flops_tracker._operations", "module_tree", "(O)", module);
    long long known = rows == NULL ? -2 : known_number(modules, module);
    PyObject *name = known == -1 ? name_for(modules, module, parent) : NULL;
    /* While the tree was listed, another thread may have added it. */
    int result = known >= 0 ? 0 : name == NULL ? -1 : add_rows(modules, rows, name, parent);
    Py_XDECREF(rows);
    Py_XDECREF(name);
    return result;
}

long long
pyft_modules_known(const pyft_modules *modules, PyObject *module)
{
    long long number = known_number(modules, module);
    PyErr_Clear(); /* out of memory, which the search will say */
    return number < 0 ? -1 : number;
}

int
pyft_modules_find(pyft_modules *modules, PyObject *module, uint32_t parent, uint32_t *number)
{
    long long known = known_number(modules, module);
    if (known == -1) {
        known =
            pyft_modules_add_tree(modules, module, parent) < 0 ? -2 : known_number(modules, module);
    }
    *number = (uint32_t)known;
    return known < 0 ? -1 : 0;
}

int
pyft_modules_init(pyft_modules *modules)
{
    modules->numbers = PyDict_New();
    modules->found = PyDict_New();
    modules->names = PyDict_New();
    if (modules->numbers == NULL || modules->found == NULL || modules->names == NULL ||
        reserve_entry(modules) < 0) {
        return -1;
    }
    pyft_module_entry *outside = &modules->items[modules->count++];
    memset(outside, 0, sizeof *outside);
    outside->reference = Py_NewRef(Py_None);
    outside->name = PyUnicode_FromString("");
    outside->class_name = PyUnicode_FromString("");
    outside->aliases = PyList_New(0);
    return outside->name == NULL || outside->class_name == NULL || outside->aliases == NULL ? -1
                                                                                            : 0;
}

void
pyft_modules_clear(pyft_modules *modules)
{
    for (uint32_t i = 0; i < modules->count; i++) {
        clear_entry(&modules->items[i]);
    }
    PyMem_Free(modules->items);
    Py_CLEAR(modules->numbers);
    Py_CLEAR(modules->found);
    Py_CLEAR(modules->names);
    memset(modules, 0, sizeof *modules);
}
