/* Operations: which rows of the name maps count an overload, and where its arguments are. */
/* SPDX-License-Identifier: MIT */
#include "operations.h"

#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 160 };

/* What flops_tracker._operations.describe says; all borrowed from its result. */
typedef struct {
    PyObject *call, *parts, *nested_parts, *name, *packet, *kind, *arguments;
    int changes_lists, varies;
} description;

static const char on_lists[] = "aten._foreach_";

static bool
is_on_lists(const char *packet)
{
    return strncmp(packet, on_lists, sizeof on_lists - 1) == 0;
}

/* The names under which a map may have the operation, from the narrowest to the widest: the
 * overload, all its overloads, the same not in place, the same not on lists. */
static const ft_map_row *const *
find_rows(const ft_registry *registry, const char *name, const char *packet, size_t *found,
          bool *each)
{
    const ft_map_row *const *rows = ft_registry_find(registry, name, found);
    char base[NAME_SIZE];
    size_t length = strlen(packet);
    *each = false;
    if (*found > 0 || length >= NAME_SIZE) {
        return rows;
    }
    memcpy(base, packet, length + 1);
    rows = ft_registry_find(registry, base, found);
    if (*found == 0 && length > 0 && base[length - 1] == '_') {
        base[length - 1] = '\0';
        rows = ft_registry_find(registry, base, found);
    }
    if (*found == 0 && is_on_lists(base)) {
        memmove(base + 5, base + sizeof on_lists - 1, strlen(base + sizeof on_lists - 1) + 1);
        rows = ft_registry_find(registry, base, found);
        *each = true;
    }
    *each = *each || (*found > 0 && (rows[0]->flags & FT_ROW_EACH));
    return rows;
}

bool
pyft_has_rows(const ft_registry *registry, const char *name)
{
    char packet[NAME_SIZE];
    size_t found = 0, length = strlen(name);
    ft_registry_find(registry, name, &found);
    if (found > 0 || length >= NAME_SIZE) {
        return found > 0;
    }
    memcpy(packet, name, length + 1);
    char *library = strchr(packet, '.');
    char *overload = library == NULL ? NULL : strchr(library + 1, '.');
    if (overload != NULL) {
        *overload = '\0';
        ft_registry_find(registry, packet, &found);
    }
    length = strlen(packet);
    if (found == 0 && length > 0 && packet[length - 1] == '_') { /* the same, in place */
        packet[length - 1] = '\0';
        ft_registry_find(registry, packet, &found);
    }
    return found > 0;
}

static int
locate_argument(PyObject *arguments, const char *name, pyft_argument *argument)
{
    argument->position = -1;
    if (name == NULL) {
        return 0;
    }
    PyObject *place = PyDict_GetItemString(arguments, name);
    argument->name = PyUnicode_InternFromString(name);
    if (place == NULL || argument->name == NULL) {
        return argument->name == NULL ? -1 : 0;
    }
    argument->position = (int)PyLong_AsLong(PyTuple_GET_ITEM(place, 0));
    argument->fallback = Py_NewRef(PyTuple_GET_ITEM(place, 1));
    return PyErr_Occurred() ? -1 : 0;
}

static int
attach_rows(pyft_op *op, const ft_map_row *const *rows, size_t found, PyObject *arguments)
{
    for (size_t i = 0; i < found && i < FT_MAX_ROWS; i++) {
        op->rows[i] = rows[i];
        op->row_count = (int)i + 1;
        int roles = ft_formula_role_count(rows[i]->formula);
        for (int role = 0; role < roles; role++) {
            const ft_source *source = &rows[i]->sources[role];
            const char *name = source->kind == FT_FROM_OPTION ? NULL : source->name;
            if (locate_argument(arguments, name, &op->arguments[i][role]) < 0) {
                return -1;
            }
            if (source->kind == FT_FROM_INPUT && source->name == NULL) {
                continue; /* a role that stands for itself */
            }
            op->role_counts[i] = role + 1;
            if (source->kind == FT_FROM_CONSTANT) {
                op->constants[i][role] = (ft_operand)FT_NUMBER_OF((uint64_t)source->index);
            }
            else {
                op->read[i][op->read_counts[i]++] = (uint8_t)role;
            }
        }
    }
    return 0;
}

/* Lists are then counted at once: of the tensors only the first role is read. */
static bool
is_in_proportion(const pyft_op *op)
{
    const ft_map_row *row = op->rows[0];
    bool so = op->each && op->row_count == 1 && !(row->flags & FT_ROW_ARGUMENT) &&
              row->formula->roles[0].kind == FT_ELEMENTS &&
              (row->sources[0].kind == FT_FROM_INPUT || row->sources[0].kind == FT_FROM_OUTPUT);
    for (int role = 1; so && role < op->role_counts[0]; role++) {
        ft_source_kind kind = row->sources[role].kind;
        so = kind == FT_FROM_CONSTANT || kind == FT_FROM_VALUE || kind == FT_FROM_PRESENCE ||
             kind == FT_FROM_SCALE || kind == FT_FROM_NONZERO || kind == FT_FROM_EQUALS;
    }
    return so;
}

static pyft_op_kind
kind_of(PyObject *text)
{
    static const struct {
        const char *text;
        pyft_op_kind kind;
    } kinds[] = {
        {"record_enter", PYFT_OP_RECORD_ENTER},
        {"record_exit", PYFT_OP_RECORD_EXIT},
        {"view", PYFT_OP_VIEW},
        {"control", PYFT_OP_CONTROL},
        {"question", PYFT_OP_QUESTION},
    };
    for (size_t i = 0; i < FT_COUNT_OF(kinds); i++) {
        if (PyUnicode_CompareWithASCIIString(text, kinds[i].text) == 0) {
            return kinds[i].kind;
        }
    }
    return PYFT_OP_UNKNOWN;
}

/* The operation by the rows that the convention with rules of its own has for it, if it has any. */
static int
resolve_own(const pyft_state *state, const description *known, pyft_op *op)
{
    const char *rules = ft_convention_find("flops_profiler")->rules;
    char name[NAME_SIZE], packet[NAME_SIZE];
    size_t found = 0;
    bool each = false;
    int name_length = snprintf(name, NAME_SIZE, "%s%s", rules, PyUnicode_AsUTF8(known->name));
    int length = snprintf(packet, NAME_SIZE, "%s%s", rules, PyUnicode_AsUTF8(known->packet));
    if (name_length >= NAME_SIZE || length >= NAME_SIZE) {
        return 0;
    }
    const ft_map_row *const *rows = find_rows(&state->registry, name, packet, &found, &each);
    if (found == 0) {
        return 0;
    }
    if ((op->own = PyMem_Calloc(1, sizeof *op->own)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    op->own->name = Py_NewRef(op->name);
    op->own->kind = PYFT_OP_COUNTED;
    return attach_rows(op->own, rows, found, known->arguments);
}

static int
resolve(pyft_state *state, const description *known, pyft_op *op)
{
    const char *name = PyUnicode_AsUTF8(known->name), *packet = PyUnicode_AsUTF8(known->packet);
    if (name == NULL || packet == NULL) {
        return -1;
    }
    op->call = Py_NewRef(known->call);
    op->parts = known->parts == Py_None ? NULL : Py_NewRef(known->parts);
    op->nested_parts = known->nested_parts == Py_None ? NULL : Py_NewRef(known->nested_parts);
    op->update = known->changes_lists != 0;
    op->varies = known->varies != 0;
    op->name = Py_NewRef(known->name);
    op->packet = Py_NewRef(known->packet);
    op->kind = kind_of(known->kind);
    op->keeps_versions = op->update && is_on_lists(packet);
    if (pyft_op_follow_rule(&state->counting->ops, op) < 0) {
        return -1;
    }
    if (op->user_rule != NULL) {
        return 0;
    }
    size_t found = 0;
    const ft_map_row *const *rows = find_rows(&state->registry, name, packet, &found, &op->each);
    if (found > 0 && op->kind == PYFT_OP_UNKNOWN) {
        op->kind = PYFT_OP_COUNTED;
    }
    op->update |= found > 0 && rows[0]->formula->op_class == FT_CLASS_OPTIMIZER;
    if (op->kind == PYFT_OP_COUNTED && attach_rows(op, rows, found, known->arguments) < 0) {
        return -1;
    }
    op->in_proportion = op->row_count > 0 && is_in_proportion(op);
    return resolve_own(state, known, op);
}

int
pyft_op_follow_rule(const pyft_ops *ops, pyft_op *op)
{
    PyObject *keys[] = {op->overload, op->name, op->packet}, *rule = NULL;
    for (size_t i = 0; i < FT_COUNT_OF(keys) && rule == NULL; i++) {
        rule = PyDict_GetItemWithError(ops->user_rules, keys[i]);
        if (rule == NULL && PyErr_Occurred()) {
            return -1;
        }
    }
    if (rule != NULL) {
        Py_XSETREF(op->user_rule, Py_NewRef(rule));
        op->kind = PYFT_OP_COUNTED;
        op->each = op->in_proportion = false;
    }
    return 0;
}

static void
op_free(pyft_op *op)
{
    if (op == NULL) {
        return;
    }
    Py_CLEAR(op->overload);
    Py_CLEAR(op->call);
    Py_CLEAR(op->parts);
    Py_CLEAR(op->nested_parts);
    Py_CLEAR(op->name);
    Py_CLEAR(op->packet);
    Py_CLEAR(op->user_rule);
    op_free(op->own);
    for (int row = 0; row < FT_MAX_ROWS; row++) {
        for (int role = 0; role < FT_MAX_ROLES; role++) {
            Py_CLEAR(op->arguments[row][role].name);
            Py_CLEAR(op->arguments[row][role].fallback);
        }
    }
    PyMem_Free(op);
}

static pyft_op *
new_op(pyft_state *state, PyObject *overload)
{
    PyObject *described =
        pyft_call_helper("flops_tracker._operations", "describe", "(O)", overload);
    description known;
    if (described == NULL ||
        !PyArg_ParseTuple(described, "OOOUUUO!pp", &known.call, &known.parts, &known.nested_parts,
                          &known.name, &known.packet, &known.kind, &PyDict_Type, &known.arguments,
                          &known.changes_lists, &known.varies)) {
        Py_XDECREF(described);
        return NULL;
    }
    pyft_op *op = PyMem_Calloc(1, sizeof *op);
    if (op == NULL) {
        PyErr_NoMemory();
    }
    else {
        op->overload = Py_NewRef(overload);
        if (resolve(state, &known, op) < 0) {
            op_free(op);
            op = NULL;
        }
    }
    Py_DECREF(described);
    return op;
}

/* The slot of an overload, or the free one where it belongs; there are 2 * capacity of them. */
static struct pyft_op_slot *
slot_of(const pyft_ops *ops, PyObject *overload)
{
    size_t mask = 2 * (size_t)ops->capacity - 1;
    size_t at = ((uintptr_t)overload >> 4) * 0x9e3779b97f4a7c15u >> 32 & mask;
    while (ops->slots[at].overload != NULL && ops->slots[at].overload != overload) {
        at = (at + 1) & mask;
    }
    return &ops->slots[at];
}

static int
grow(pyft_ops *ops)
{
    uint32_t capacity = ops->capacity == 0 ? 512 : 2 * ops->capacity;
    struct pyft_op_slot *slots = PyMem_Calloc(2 * (size_t)capacity, sizeof *slots);
    pyft_op **items =
        slots == NULL ? NULL : PyMem_Realloc(ops->items, capacity * sizeof(pyft_op *));
    if (items == NULL) {
        PyMem_Free(slots);
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(ops->slots);
    ops->items = items;
    ops->slots = slots;
    ops->capacity = capacity;
    for (uint32_t i = 0; i < ops->count; i++) {
        *slot_of(ops, items[i]->overload) = (struct pyft_op_slot){items[i]->overload, i};
    }
    return 0;
}

/* Resolves an overload; what runs meanwhile may have done so too. */
static int
add_op(pyft_state *state, PyObject *overload)
{
    pyft_ops *ops = &state->counting->ops;
    pyft_op *op = new_op(state, overload);
    if (op == NULL || (ops->count == ops->capacity && grow(ops) < 0)) {
        op_free(op);
        return -1;
    }
    struct pyft_op_slot *slot = slot_of(ops, overload);
    if (slot->overload != NULL) {
        op_free(op);
        return 0;
    }
    *slot = (struct pyft_op_slot){overload, ops->count};
    ops->items[ops->count++] = op;
    return 0;
}

pyft_op *
pyft_op_of(pyft_state *state, PyObject *overload, uint32_t *number)
{
    pyft_ops *ops = &state->counting->ops;
    if (ops->capacity == 0 && grow(ops) < 0) {
        return NULL;
    }
    if (slot_of(ops, overload)->overload == NULL && add_op(state, overload) < 0) {
        return NULL;
    }
    *number = slot_of(ops, overload)->number;
    return ops->items[*number];
}

PyObject *
pyft_ruled_class(const pyft_ops *ops, PyObject *module)
{
    PyObject *mro = Py_TYPE(module)->tp_mro;
    for (Py_ssize_t i = 0; ops->has_class_rules && i < PyTuple_GET_SIZE(mro); i++) {
        if (PyDict_GetItem(ops->user_rules, PyTuple_GET_ITEM(mro, i)) != NULL) {
            return PyTuple_GET_ITEM(mro, i);
        }
    }
    return NULL;
}

int
pyft_ops_visit(pyft_ops *ops, visitproc visit, void *arg)
{
    Py_VISIT(ops->user_rules);
    for (uint32_t i = 0; i < ops->count; i++) {
        Py_VISIT(ops->items[i]->overload);
        Py_VISIT(ops->items[i]->call);
        Py_VISIT(ops->items[i]->parts);
        Py_VISIT(ops->items[i]->nested_parts);
        Py_VISIT(ops->items[i]->user_rule);
    }
    return 0;
}

void
pyft_ops_clear(pyft_ops *ops)
{
    for (uint32_t i = 0; i < ops->count; i++) {
        op_free(ops->items[i]);
    }
    PyMem_Free(ops->items);
    PyMem_Free(ops->slots);
    Py_CLEAR(ops->user_rules);
    ops->items = NULL;
    ops->slots = NULL;
    ops->count = ops->capacity = 0;
}
