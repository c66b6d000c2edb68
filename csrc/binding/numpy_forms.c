/* Closed forms as NumPy ufuncs: loops over int64 that give int64, float64 or Python's integers. */
/* SPDX-License-Identifier: MIT */
#include "numpy_forms.h"

#include <fenv.h>
#include <math.h>

/* ---- results ---- */

/* To the nearest double, ties to even: of the upper 64 bits, the rest being in the lowest. */
static double
to_double(ft_u128 count)
{
    int shift = 0;
    for (; shift < 64 && count.hi >> shift != 0; shift++) {
    }
    if (shift == 0) {
        return (double)count.lo;
    }
    uint64_t top = shift == 64 ? count.hi : (count.hi << (64 - shift)) | (count.lo >> shift);
    bool rest = (shift == 64 ? count.lo : count.lo << (64 - shift)) != 0;
    return ldexp((double)(top | rest), shift);
}

/* The flags are NumPy's way to hear of it: errstate(over=, invalid=) says what comes of them. */
static void
put_int64(void *place, ft_status status, ft_u128 count)
{
    int64_t value = (int64_t)count.lo;
    if (status == FT_OK && (count.hi != 0 || count.lo > INT64_MAX)) {
        status = FT_OVERFLOW;
    }
    if (status != FT_OK) {
        feraiseexcept(status == FT_OVERFLOW ? FE_OVERFLOW : FE_INVALID);
        value = status == FT_OVERFLOW ? INT64_MAX : INT64_MIN;
    }
    memcpy(place, &value, sizeof value);
}

static void
put_double(void *place, ft_status status, ft_u128 count)
{
    double value = to_double(count);
    if (status != FT_OK) {
        feraiseexcept(status == FT_OVERFLOW ? FE_OVERFLOW : FE_INVALID);
        value = status == FT_OVERFLOW ? HUGE_VAL : NAN;
    }
    memcpy(place, &value, sizeof value);
}

/* NumPy holds the GIL in loops over objects, and looks for an exception afterwards. */
static void
put_object(void *place, ft_status status, ft_u128 count)
{
    PyObject *value, **object = place;
    if (status == FT_OK) {
        char text[FT_U128_TEXT_SIZE];
        ft_u128_text(count, text);
        value = PyLong_FromString(text, NULL, 10);
    }
    else {
        feraiseexcept(status == FT_OVERFLOW ? FE_OVERFLOW : FE_INVALID);
        value = PyFloat_FromDouble(status == FT_OVERFLOW ? HUGE_VAL : NAN);
    }
    Py_XSETREF(*object, value);
}

/* ---- loops ---- */

enum { BLOCK = 512 };

typedef struct {
    const ft_plan *plan;
    const ft_convention *conventions;
    int64_t convention_count;
    char **places; /* of all arguments, the convention and the result */
    const npy_intp *steps;
    void (*put)(void *place, ft_status status, ft_u128 count);
    bool is_double;
} loop;

static int64_t
read_int64(const char *place)
{
    int64_t value;
    memcpy(&value, place, sizeof value);
    return value;
}

/* Point by point: the formulas themselves. */
static void
run_formulas(const loop *l, ft_filled *filled, npy_intp first, npy_intp last)
{
    int count = l->plan->argument_count;
    int64_t arguments[FT_MAX_ARGUMENTS + 1]; /* and the convention */
    for (npy_intp i = first; i < last; i++) {
        ft_status status = FT_BAD_SHAPE;
        ft_u128 flops = FT_U128_ZERO;
        for (int j = 0; j <= count; j++) {
            arguments[j] = read_int64(l->places[j] + i * l->steps[j]);
        }
        if (arguments[count] >= 0 && arguments[count] < l->convention_count) {
            status =
                ft_filled_evaluate(filled, arguments, &l->conventions[arguments[count]], &flops);
        }
        l->put(l->places[count + 1] + i * l->steps[count + 1], status, flops);
    }
}

/* The arguments of a block side by side: where they lie already, or copied. */
static void
gather(const loop *l, const ft_polynomial *polynomial, npy_intp first, npy_intp length,
       int64_t buffers[][BLOCK], const int64_t **columns)
{
    for (int j = 0; j < polynomial->varying; j++) {
        int column = polynomial->column_of[j], argument = polynomial->arguments[j];
        npy_intp step = l->steps[argument];
        const char *place = l->places[argument] + first * step;
        columns[column] = (const int64_t *)(const void *)place;
        if (step != sizeof(int64_t)) {
            for (npy_intp i = 0; i < length; i++) {
                buffers[column][i] = read_int64(place + i * step);
            }
            columns[column] = buffers[column];
        }
    }
}

static void
put_block(const loop *l, const int64_t *results, npy_intp length, char *place)
{
    npy_intp step = l->steps[l->plan->argument_count + 1];
    if (!l->is_double && step == sizeof(int64_t)) {
        memcpy(place, results, (size_t)length * sizeof(int64_t));
        return;
    }
    for (npy_intp i = 0; i < length; i++, place += step) {
        double value = (double)results[i];
        memcpy(place, l->is_double ? (const void *)&value : &results[i], sizeof value);
    }
}

static void
run_blocks(const loop *l, ft_filled *filled, const ft_polynomial *polynomial, npy_intp count)
{
    int64_t buffers[FT_MAX_VARYING][BLOCK], results[BLOCK];
    const int64_t *columns[FT_MAX_VARYING];
    int result = l->plan->argument_count + 1;
    for (npy_intp first = 0; first < count; first += BLOCK) {
        npy_intp length = count - first < BLOCK ? count - first : BLOCK;
        char *place = l->places[result] + first * l->steps[result];
        gather(l, polynomial, first, length, buffers, columns);
        if (!ft_polynomial_evaluate(polynomial, columns, (size_t)length, results)) {
            run_formulas(l, filled, first, first + length);
            continue;
        }
        put_block(l, results, length, place); /* only now: it may be an argument's place */
    }
}

/* Notes an argument that varies, in the column of one that lies in the same place. */
static bool
add_varying(const loop *l, int argument, ft_polynomial *p)
{
    if (p->varying == FT_MAX_VARYING) {
        return false;
    }
    uint8_t column = (uint8_t)p->columns;
    for (int i = 0; i < p->varying; i++) {
        int other = p->arguments[i];
        if (l->places[other] == l->places[argument] && l->steps[other] == l->steps[argument]) {
            column = p->column_of[i];
        }
    }
    p->columns += column == p->columns;
    p->column_of[p->varying] = column;
    p->arguments[p->varying++] = (uint8_t)argument;
    return true;
}

/* Whether the points are worth a polynomial, and what it is. */
static bool
make_polynomial(const loop *l, ft_filled *filled, npy_intp count, ft_polynomial *polynomial)
{
    int64_t arguments[FT_MAX_ARGUMENTS];
    int arity = l->plan->argument_count;
    int64_t convention = read_int64(l->places[arity]);
    if (l->steps[arity] != 0 || convention < 0 || convention >= l->convention_count) {
        return false;
    }
    polynomial->varying = polynomial->columns = 0;
    for (int j = 0; j < arity; j++) {
        arguments[j] = read_int64(l->places[j]);
        if (l->steps[j] != 0 && !add_varying(l, j, polynomial)) {
            return false;
        }
    }
    return count >= (npy_intp)4 << polynomial->varying &&
           ft_polynomial_make(filled, arguments, &l->conventions[convention], polynomial);
}

static void
run(loop *l, npy_intp count)
{
    ft_filled filled;
    ft_polynomial polynomial;
    size_t conventions;
    l->conventions = ft_conventions(&conventions);
    l->convention_count = (int64_t)conventions;
    ft_filled_start(l->plan, &filled);
    if (count > 0 && l->put != put_object && make_polynomial(l, &filled, count, &polynomial)) {
        run_blocks(l, &filled, &polynomial, count);
    }
    else {
        run_formulas(l, &filled, 0, count);
    }
}

static void
loop_int64(char **places, const npy_intp *count, const npy_intp *steps, void *plan)
{
    run(&(loop){.plan = plan, .places = places, .steps = steps, .put = put_int64}, *count);
}

static void
loop_double(char **places, const npy_intp *count, const npy_intp *steps, void *plan)
{
    run(
        &(loop){
            .plan = plan, .places = places, .steps = steps, .put = put_double, .is_double = true},
        *count);
}

static void
loop_object(char **places, const npy_intp *count, const npy_intp *steps, void *plan)
{
    run(&(loop){.plan = plan, .places = places, .steps = steps, .put = put_object}, *count);
}

/* ---- ufuncs ---- */

enum { LOOPS = 3 };

/* All that a ufunc points to. NumPy frees it with the ufunc. */
typedef struct {
    ft_plan plan;
    void *data[LOOPS];
    char types[LOOPS * (FT_MAX_ARGUMENTS + 2)];
} form_block;

static PyUFuncGenericFunction loops[LOOPS] = {loop_int64, loop_double, loop_object};

static PyObject *
make_ufunc(const ft_closed_form *form)
{
    static const char results[LOOPS] = {NPY_INT64, NPY_DOUBLE, NPY_OBJECT};
    form_block *block = PyArray_malloc(sizeof *block);
    if (block == NULL) {
        return PyErr_NoMemory();
    }
    if (ft_plan_parse(form, &block->plan) != FT_OK) {
        PyArray_free(block);
        return PyErr_Format(PyExc_SystemError, "the closed form %s can't be read", form->name);
    }
    int inputs = block->plan.argument_count + 1;
    char *type = block->types;
    for (int i = 0; i < LOOPS; i++) {
        block->data[i] = &block->plan;
        memset(type, NPY_INT64, (size_t)inputs);
        type += inputs;
        *type++ = results[i];
    }
    PyObject *ufunc = PyUFunc_FromFuncAndData(loops, block->data, block->types, LOOPS, inputs, 1,
                                              PyUFunc_None, form->name, form->about, 0);
    if (ufunc == NULL) {
        PyArray_free(block);
        return NULL;
    }
    ((PyUFuncObject *)ufunc)->ptr = block;
    return ufunc;
}

PyObject *
pyft_closed_form(PyObject *module, PyObject *name)
{
    (void)module;
    const char *text = PyUnicode_AsUTF8(name);
    for (size_t i = 0; text != NULL && ft_closed_form_at(i) != NULL; i++) {
        if (strcmp(ft_closed_form_at(i)->name, text) == 0) {
            return make_ufunc(ft_closed_form_at(i));
        }
    }
    return text == NULL ? NULL : PyErr_Format(PyExc_KeyError, "%R", name);
}

/* ---- what there is ---- */

static PyObject *
arguments_of(const ft_plan *plan)
{
    PyObject *list = PyTuple_New(plan->argument_count);
    for (int i = 0; list != NULL && i < plan->argument_count; i++) {
        const ft_argument *argument = &plan->arguments[i];
        PyObject *item = Py_BuildValue("s#C z#", argument->name, (Py_ssize_t)argument->name_length,
                                       argument->sign == '\0' ? ' ' : argument->sign,
                                       argument->value, (Py_ssize_t)argument->value_length);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyTuple_SET_ITEM(list, i, item);
    }
    return list;
}

static PyObject *
formulas_of(const ft_plan *plan)
{
    PyObject *list = PyTuple_New(plan->term_count);
    for (int i = 0; list != NULL && i < plan->term_count; i++) {
        PyObject *name = PyUnicode_FromString(plan->form->terms[i].formula->name);
        if (name == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyTuple_SET_ITEM(list, i, name);
    }
    return list;
}

PyObject *
pyft_closed_forms(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    ft_plan plan;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && ft_closed_form_at(i) != NULL; i++) {
        const ft_closed_form *form = ft_closed_form_at(i);
        bool is_read = ft_plan_parse(form, &plan) == FT_OK;
        PyObject *item = !is_read ? NULL
                                  : Py_BuildValue("ssNN", form->name, form->about,
                                                  formulas_of(&plan), arguments_of(&plan));
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}
