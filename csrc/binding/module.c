/* The extension module flops_tracker._core: its state, its slots, and what it exposes. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

pyft_state *
pyft_state_of(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &pyft_module);
    return module == NULL ? NULL : PyModule_GetState(module);
}

static PyObject *
format_flops(PyObject *module, PyObject *count)
{
    (void)module;
    ft_u128 value;
    return pyft_to_u128(count, "count", &value) < 0 ? NULL : pyft_si_text(value);
}

static PyMethodDef module_methods[] = {
    {"rules", PYFT_METHOD(pyft_rules), METH_VARARGS | METH_KEYWORDS,
     "rules($module, pattern=None)\n--\n\n"
     "The layers that have a rule, as a list of Rule; those whose name or formula contains pattern."},
    {"formulas", pyft_formulas, METH_NOARGS,
     "formulas($module, /)\n--\n\nAll formulas as a list of Rule, named by the formula."},
    {"conventions", pyft_conventions, METH_NOARGS,
     "conventions($module, /)\n--\n\nThe conventions under which a cost is read, a list of Convention."},
    {"register_rule", PYFT_METHOD(pyft_register_rule), METH_VARARGS | METH_KEYWORDS,
     "register_rule($module, target, fn, *, override=False)\n--\n\n"
     "Count an operation of your own: register_rule('mylib::scan', fn).\n\n"
     "fn(args, kwargs, output) returns what one call costs: a dict by kind, such as\n"
     "{'mac': n * k, 'arith': n} (with 'mac' it counts as a contraction), or an int, which means\n"
     "'arith'. For a class of modules it is fn(module, args, output), the module's forward as a\n"
     "whole; its backward is counted as it runs. A second rule for the same operation is a ValueError without override=True."},
    {"_join_limbs", pyft_join_limbs, METH_VARARGS, NULL},
    {"_ruled", pyft_ruled, METH_NOARGS, NULL},
    {"_update_flops", pyft_update_flops, METH_VARARGS, NULL},
    {"_explain_call", pyft_explain_call, METH_VARARGS, NULL},
    {"_add_counts", pyft_sum_counts, METH_O, NULL},
    {"_subtract_counts", pyft_subtract_counts, METH_VARARGS, NULL},
    {"_count_difference", pyft_count_difference, METH_VARARGS, NULL},
    {"format_flops", format_flops, METH_O,
     "format_flops($module, count, /)\n--\n\n8178368512 as '8.18 GFLOP'."},
    {"_rate", pyft_rate, METH_VARARGS, NULL},
    {"_shares", pyft_shares, METH_O, NULL},
    {"_utilization", pyft_utilization, METH_VARARGS, NULL},
    {"_joint_peak", pyft_joint_peak, METH_O, NULL},
    {"_to_rate", pyft_to_rate, METH_VARARGS, NULL},
    {"_to_amount", pyft_amount, METH_VARARGS, NULL},
    {"_peak_of", pyft_peak_of, METH_O, NULL},
    {"_peaks", pyft_peaks, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    pyft_state *state = PyModule_GetState(module);
    ft_status status = ft_registry_init(&state->registry, ft_allocator_libc());
    if (status != FT_OK) {
        pyft_raise(status, "building the registry of rules");
        return -1;
    }
    state->uncounted_warning = PyErr_NewExceptionWithDoc(
        "flops_tracker.UncountedWarning", "Some work has no rule, so a total is too small.",
        PyExc_UserWarning, NULL);
    state->unknown_error = PyErr_NewExceptionWithDoc(
        "flops_tracker.UnknownOperationError",
        "An operation without a rule, under a counter that is strict.", PyExc_RuntimeError, NULL);
    if (state->uncounted_warning == NULL || state->unknown_error == NULL ||
        PyModule_AddObjectRef(module, "UncountedWarning", state->uncounted_warning) < 0 ||
        PyModule_AddObjectRef(module, "UnknownOperationError", state->unknown_error) < 0 ||
        pyft_add_registry(module, state) < 0 || pyft_add_estimators(module, state) < 0 ||
        pyft_add_walk(module, state) < 0 || pyft_add_torch_estimators(module, state) < 0 ||
        pyft_add_records(module, state) < 0 || pyft_add_tracker(module, state) < 0 ||
        pyft_add_epochs(module, state) < 0 || pyft_add_counts(module, state) < 0 ||
        pyft_add_counter(module, state) < 0 || pyft_add_loops(module, state) < 0 ||
        pyft_add_work_sum(module) < 0) {
        return -1;
    }
    if (PyModule_AddStringConstant(module, "STEP_CSV_HEADER", FT_CSV_STEP_HEADER) < 0 ||
        PyModule_AddStringConstant(module, "EPOCH_CSV_HEADER", FT_CSV_EPOCH_HEADER) < 0) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "__version__", FT_VERSION);
}

#define FOR_EACH_OBJECT(state, DO)    \
    DO((state)->estimator_type);      \
    DO((state)->sgd_type);            \
    DO((state)->torch_layer_type);    \
    DO((state)->torch_auto_type);     \
    DO((state)->torch_cnn_type);      \
    DO((state)->walk_type);           \
    DO((state)->tracker_type);        \
    DO((state)->epoch_iterator_type); \
    DO((state)->steps_iterator_type); \
    DO((state)->step_log_type);       \
    DO((state)->epoch_log_type);      \
    DO((state)->layer_type);          \
    DO((state)->rule_type);           \
    DO((state)->convention_type);     \
    DO((state)->operation_row_type);  \
    DO((state)->counts_type);         \
    DO((state)->counter_type);        \
    DO((state)->mode_type);           \
    DO((state)->uncounted_warning);   \
    DO((state)->unknown_error)

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    pyft_state *state = PyModule_GetState(module);
    FOR_EACH_OBJECT(state, Py_VISIT);
    return state->counting == NULL ? 0 : pyft_counting_visit(state->counting, visit, arg);
}

static int
module_clear(PyObject *module)
{
    pyft_state *state = PyModule_GetState(module);
    FOR_EACH_OBJECT(state, Py_CLEAR);
    if (state->counting != NULL) {
        pyft_counting_clear(state->counting);
    }
    return 0;
}

static void
module_free(void *module)
{
    module_clear(module);
    pyft_state *state = PyModule_GetState(module);
    PyMem_Free(state->counting);
    state->counting = NULL;
    ft_registry_clear(&state->registry);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_USED}, /* trackers hold no lock of their own */
#endif
    {0, NULL},
};

PyModuleDef pyft_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "flops_tracker._core",
    .m_doc = "The C core of flops_tracker. Use it through the package.",
    .m_size = sizeof(pyft_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&pyft_module);
}
