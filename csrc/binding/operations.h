/* What an operation of torch is, and what a call of it worked on. */
/* SPDX-License-Identifier: MIT */
#ifndef PYFT_OPERATIONS_H
#define PYFT_OPERATIONS_H

#include "pyft.h"

/* ---- operations: what one overload is and how it is counted; resolved once (ops.c) ---- */

typedef enum {
    PYFT_OP_COUNTED,  /* by its rows or by a user's rule */
    PYFT_OP_VIEW,     /* gives a view of its argument: moves no byte */
    PYFT_OP_UNKNOWN,  /* no rule */
    PYFT_OP_QUESTION, /* such as a tensor's device: no operation */
    PYFT_OP_CONTROL,  /* a higher-order operator that runs a function of the user */
    PYFT_OP_RECORD_ENTER,
    PYFT_OP_RECORD_EXIT, /* bounds of an optimizer's step */
} pyft_op_kind;

/* Where a call of this overload has the argument that a source names. */
typedef struct {
    int position; /* in args; -1 where the schema has no such argument */
    PyObject *name, *fallback;
} pyft_argument;

typedef struct pyft_op {
    PyObject *overload, *name, *packet;
    PyObject *call;  /* call(*args, **kwargs) computes it */
    PyObject *parts; /* the same for a composite one, by way of the operations it is made of */
    PyObject *nested_parts; /* the same on strided nested tensors */
    pyft_op_kind kind;
    const ft_map_row *rows[FT_MAX_ROWS];
    pyft_argument arguments[FT_MAX_ROWS][FT_MAX_ROLES];
    int row_count, role_counts[FT_MAX_ROWS];         /* roles beyond have no source */
    ft_operand constants[FT_MAX_ROWS][FT_MAX_ROLES]; /* the operands that no call changes, and */
    uint8_t read[FT_MAX_ROWS][FT_MAX_ROLES];         /* the roles of the others */
    uint8_t read_counts[FT_MAX_ROWS];
    PyObject *user_rule; /* a callable, or NULL */
    struct pyft_op *own; /* the same by the rows of a convention with rules of its own, or NULL */
    bool each;           /* works on lists of tensors, element by element */
    bool in_proportion;  /* its one rule is, to the elements of all tensors in the list together */
    bool update;         /* of an optimizer, or changes lists of tensors in place as they do */
    bool keeps_versions; /* of the lists that it changes in place */
    bool varies; /* the size of what it gives depends on data; of aten.index, where a mask is given
                  */
} pyft_op;

typedef struct {
    pyft_op **items; /* by number; they stay where they are */
    uint32_t count, capacity;
    struct pyft_op_slot {
        PyObject *overload; /* borrowed; NULL where it is free */
        uint32_t number;
    } *slots;             /* by address of the overload, open addressing */
    PyObject *user_rules; /* name or module class: callable */
    bool has_class_rules;
} pyft_ops;

/* The operation of an overload, resolved on first sight; NULL with an exception. */
pyft_op *pyft_op_of(pyft_state *state, PyObject *overload, uint32_t *number);
/* Whether an operation, or one overload of it, has a rule: "aten.mm", "aten.mm.default". */
bool pyft_has_rows(const ft_registry *registry, const char *name);
/* The most specific of the user's rules for it, if there is one, counts it from now on. */
int pyft_op_follow_rule(const pyft_ops *ops, pyft_op *op);
void pyft_ops_clear(pyft_ops *ops);
/* The class of a module's MRO that a user's rule counts; borrowed, NULL where there is none. */
PyObject *pyft_ruled_class(const pyft_ops *ops, PyObject *module);
int pyft_ops_visit(pyft_ops *ops, visitproc visit, void *arg);
/* user_rules.c */
PyObject *pyft_register_rule(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *pyft_ruled(PyObject *module, PyObject *unused);
PyObject *pyft_explain_call(PyObject *module, PyObject *args);

/* ---- torch's functions and types, looked up once (torch.c) ---- */

#define PYFT_TORCH_LIST(X)                                                              \
    X(tensor_type, "torch", "Tensor")                                                   \
    X(parameter_type, "torch.nn", "Parameter")                                          \
    X(strided, "torch", "strided")                                                      \
    X(bool_dtype, "torch", "bool")                                                      \
    X(byte_dtype, "torch", "uint8")                                                     \
    X(graph_task, "torch._C", "_current_graph_task_id")                                 \
    X(grad_enabled, "torch", "is_grad_enabled")                                         \
    X(sequence, "torch._C._autograd", "_get_sequence_nr")                               \
    X(node, "torch._C", "_current_autograd_node")                                       \
    X(saved_hooks, "torch._C._autograd", "_top_saved_tensors_default_hooks")            \
    X(push_mode, "torch._C", "_push_on_torch_dispatch_stack")                           \
    X(pop_mode, "torch._C", "_pop_torch_dispatch_stack")                                \
    X(active_mode, "torch._C", "_get_dispatch_mode")                                    \
    X(exporting, "torch.compiler", "is_exporting")                                      \
    X(fake_type, "torch._subclasses.fake_tensor", "FakeTensor")                         \
    X(increment_version, "torch.autograd.graph", "increment_version")                   \
    X(stack_size, "torch._C", "_len_torch_dispatch_stack")                              \
    X(stack_at, "torch._C", "_get_dispatch_stack_at")                                   \
    X(is_wrapper, "torch.utils._python_dispatch", "is_traceable_wrapper_subclass_type") \
    X(operation_type, "torch._ops", "OpOverload")

typedef struct pyft_torch {
    PyObject *shape_name, *dtype_name, *nbytes_name, *layout_name, *is_cpu_name, *sequence_name,
        *requires_grad_name; /* interned */
    PyObject *shape_getter, *dtype_getter, *nbytes_getter, *layout_getter,
        *is_cpu_getter;  /* of the class of tensors */
    PyObject *proxy_key; /* of the mode that records a graph */
#define PYFT_TORCH_MEMBER(name, module, attribute) PyObject *name;
    PYFT_TORCH_LIST(PYFT_TORCH_MEMBER)
#undef PYFT_TORCH_MEMBER
} pyft_torch;

int pyft_torch_load(pyft_torch *torch);
/* Calls a function without arguments. */
PyObject *pyft_ask(PyObject *function);
/* What a function of torch without arguments returns, as an integer; -2 with an exception. */
long long pyft_torch_number(PyObject *function);

/* ---- what one call did (tensors.c, made.c, operands.c) ---- */

typedef enum { PYFT_REAL, PYFT_COMPLEX, PYFT_INTEGER } pyft_number_kind;

typedef struct {
    PyObject *dtype, *name;
    pyft_number_kind kind;
    uint8_t size; /* bytes of an element */
} pyft_dtype;

enum { PYFT_MAX_DTYPES = 64, PYFT_NO_DTYPE = 0 };

typedef struct pyft_dtypes {
    pyft_dtype items[PYFT_MAX_DTYPES]; /* number 0 stands for none */
    int count;
} pyft_dtypes;

typedef enum {
    PYFT_UNREAD,
    PYFT_STRIDED,
    PYFT_OTHER,
    PYFT_SILENT, /* does not say */
} pyft_layout;

/* A tensor as far as counting goes; borrowed, and asked only for what is needed. */
typedef struct {
    PyObject *object;
    int times; /* among the arguments and results */
    int dtype; /* -1: not read yet */
    int ndim;  /* -1: not read yet */
    pyft_layout layout;
    int64_t bytes; /* that a strided one says; -1: not read yet, or it does not say */
    bool known;    /* sizes that depend on data are not, while a graph is made */
    int64_t dims[FT_MAX_DIMS];
} pyft_tensor;

enum { PYFT_MAX_TENSORS = 16 };

/* A call of an operation, or of element number `element` of one that works on lists. */
typedef struct {
    pyft_state *state;
    const pyft_op *op;
    PyObject *args, *kwargs, *result; /* borrowed; kwargs may be NULL */
    Py_ssize_t element;               /* -1 where the operation does not work on lists */
    bool whole_list;                  /* then role 0 is `list_numel` elements: of all its tensors */
    uint64_t list_numel;
    bool by_numel; /* a number of elements will do for a shape */
    bool causal;   /* the option causal="exact" */
    bool bounded;  /* lengths that it has were not read: the most that they can be is counted */
    bool varies;   /* what it cost was read from what tensors hold */
    int tensor_count, argument_count; /* each tensor once; those of the arguments come first */
    int first_result;                 /* in `tensors`; -1 where the result has none */
    pyft_tensor tensors[PYFT_MAX_TENSORS];
    ft_u128 bytes; /* of those beyond PYFT_MAX_TENSORS; of all, once pyft_made_bytes was called */
    bool has_bytes, is_sparse; /* then it is known whether one of its tensors is, and what these */
    int64_t argument_entries, result_entries; /* store; the arguments all together */
} pyft_made;

/* In place of a number of entries. */
enum { PYFT_DENSE = -1, PYFT_UNREADABLE = -2 };

bool pyft_is_tensor(const pyft_torch *torch, PyObject *object);
/* A size, of a symbolic one the number that it stands for now; false where there is none. */
bool pyft_read_size(PyObject *value, int64_t *size);

/* tensors.c: what is not known of a tensor yet; -1 with an exception. */
int pyft_tensor_shape(pyft_state *state, pyft_tensor *tensor);
int pyft_tensor_dtype(pyft_state *state, pyft_tensor *tensor);
int pyft_tensor_layout(const pyft_torch *torch, pyft_tensor *tensor);
int pyft_tensor_bytes(const pyft_torch *torch, pyft_tensor *tensor);
/* Whether it is of torch's own classes, whose getters are called without looking them up. */
bool pyft_has_own_getters(const pyft_torch *torch, PyObject *object);
/* Tensors that do not say, and the like; 0 but for an interrupt, which stays. */
int pyft_forgive(void);

/* made.c */
/* The elements of the list arguments; -1 with an exception. */
Py_ssize_t pyft_made_elements(const pyft_made *made);
/* Finds all tensors of the call. */
int pyft_made_read(pyft_made *made);
/* A tensor with its shape, in `beyond` where it is none of those that were found; NULL with an
 * exception, also where its sizes are not known. */
pyft_tensor *pyft_made_tensor(pyft_made *made, PyObject *object, pyft_tensor *beyond);
/* How many elements a strided tensor of the call has, of which no shape was read: 1, or 0 where
 * only its shape says; -1 with an exception. */
int pyft_made_numel(pyft_made *made, PyObject *object, uint64_t *numel);
/* The dtype of the first tensor of the result, or else of the arguments; -1 with an exception. */
int pyft_made_dtype(pyft_made *made);
int pyft_made_argument_dtype(pyft_made *made);
/* Adds up `bytes`, and finds what sparse tensors store. */
int pyft_made_bytes(pyft_made *made);
/* Reads the operand of a role; dims has room for FT_MAX_DIMS. A longer list stands in memory that
 * pyft_operand_free gives back. */
int pyft_made_operand(pyft_made *made, int row, int role, int64_t *dims, ft_operand *operand);
/* Whether an option of the rule, any role but the first one, is a list with one for each tensor. */
bool pyft_made_has_options_each(const pyft_made *made);
/* Adds the elements of role 0 to `list_numel`; 1, 0 or -1 as pyft_made_numel. */
int pyft_made_add_numel(pyft_made *made);
void pyft_operand_free(const int64_t *dims, ft_operand *operand);

/* contents.c: operands that are read from what a tensor holds; -1 with an exception. */
/* What a sparse tensor stores; PYFT_DENSE for any other. */
int pyft_read_stored(PyObject *tensor, int64_t *entries, int64_t *bytes);
/* tensors.c: -1 with an exception. */
/* Gives the tensors in the first argument the versions that an operation on lists gives them where
 * no mode is. */
int pyft_raise_versions(const pyft_torch *torch, PyObject *args);
int pyft_is_strided(const pyft_torch *torch, PyObject *tensor);
int pyft_entries_operand(pyft_made *made, PyObject *value, ft_operand *operand);
int pyft_lengths_operand(pyft_made *made, PyObject *value, int64_t *dims, ft_operand *operand);
int pyft_blocks_operand(pyft_made *made, PyObject *mask, int64_t *dims, ft_operand *operand);
int pyft_nested_operand(const pyft_torch *torch, PyObject *value, int64_t *dims,
                        ft_operand *operand);
/* Whether packed weights have a bias. */
int pyft_packed_bias(PyObject *value, uint64_t *there);

/* Everything that is the same for all counters of the process. */
typedef struct pyft_counting {
    pyft_torch torch;
    pyft_ops ops;
    pyft_dtypes dtypes;
} pyft_counting;

/* torch.c: made on first use. */
pyft_counting *pyft_counting_of(pyft_state *state);
int pyft_counting_visit(pyft_counting *counting, visitproc visit, void *arg);
void pyft_counting_clear(pyft_counting *counting);

#endif
