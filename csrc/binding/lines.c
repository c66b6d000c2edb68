/* The lines and rows of batches and epochs, for loops of ours and of the user's alike. */
/* SPDX-License-Identifier: MIT */
#include "pyft.h"

PyObject *
pyft_step_line(PyObject *rank, const ft_step *step, ft_u128 flops_epoch)
{
    PyObject *batch = pyft_grouped_text(step->flops_batch);
    PyObject *epoch = pyft_si_text(flops_epoch), *total = pyft_si_text(step->flops_total_cum);
    PyObject *text = NULL;
    if (batch != NULL && epoch != NULL && total != NULL) {
        text = PyUnicode_FromFormat(
            "%Uepoch %u step %u%sbatch of %llu%s%U FLOPs%sepoch %U%stotal %U", rank, step->epoch,
            step->step, PYFT_DOT, (unsigned long long)step->batch_size, PYFT_DOT, batch, PYFT_DOT,
            epoch, PYFT_DOT, total);
    }
    Py_XDECREF(batch);
    Py_XDECREF(epoch);
    Py_XDECREF(total);
    return text;
}

PyObject *
pyft_epoch_line(PyObject *rank, const ft_epoch *epoch, bool timed)
{
    PyObject *flops = pyft_flops_text(epoch->flops_epoch);
    PyObject *total = pyft_si_text(epoch->flops_total_cum);
    char *loss = PyOS_double_to_string(epoch->loss, 'g', 4, 0, NULL);
    char *seconds = PyOS_double_to_string(epoch->wall_time_s, 'f', 2, 0, NULL);
    PyObject *text = NULL;
    if (flops != NULL && total != NULL && loss != NULL && seconds != NULL) {
        bool has_loss = epoch->has_loss;
        text = PyUnicode_FromFormat(
            "%Uepoch %u%s%U%stotal %U%s%s%s%s%s%s", rank, epoch->epoch, PYFT_DOT, flops, PYFT_DOT,
            total, has_loss ? PYFT_DOT "loss " : "", has_loss ? loss : "", timed ? PYFT_DOT : "",
            timed ? seconds : "", timed ? " s" : "", epoch->complete ? "" : PYFT_DOT "broken off");
    }
    PyMem_Free(loss);
    PyMem_Free(seconds);
    Py_XDECREF(flops);
    Py_XDECREF(total);
    return text;
}

/* ---- of a tracker, for loops of the user's ---- */

/* _step_lines(epoch, step): of kept steps from that one on, a list. */
PyObject *
pyft_tracker_step_lines(PyObject *object, PyObject *args)
{
    const ft_ledger *ledger = &((pyft_tracker *)object)->run.ledger;
    unsigned int epoch, step;
    if (!PyArg_ParseTuple(args, "II:_step_lines", &epoch, &step)) {
        return NULL;
    }
    PyObject *rank = pyft_rank_prefix(), *lines = rank == NULL ? NULL : PyList_New(0);
    size_t i = ft_ledger_step_from(ledger, epoch, step);
    for (; lines != NULL && i < ledger->step_count; i++) {
        PyObject *line =
            pyft_step_line(rank, &ledger->steps->rows[i], ft_ledger_epoch_cum(ledger, i));
        if (line == NULL || PyList_Append(lines, line) < 0) {
            Py_CLEAR(lines);
        }
        Py_XDECREF(line);
    }
    Py_XDECREF(rank);
    return lines;
}

/* The last epoch, which has ended; it need not be kept. */
PyObject *
pyft_tracker_epoch_line(PyObject *object, PyObject *unused)
{
    (void)unused;
    const pyft_tracker *self = (pyft_tracker *)object;
    PyObject *rank = pyft_rank_prefix();
    PyObject *line =
        rank == NULL ? NULL : pyft_epoch_line(rank, &self->run.ledger.current, self->log_wall_time);
    Py_XDECREF(rank);
    return line;
}

/* _write_epoch(file): the last epoch as a row of CSV. */
PyObject *
pyft_tracker_write_epoch(PyObject *object, PyObject *file)
{
    const ft_ledger *ledger = &((pyft_tracker *)object)->run.ledger;
    ft_status status = ft_csv_epoch(pyft_file_sink(file), &ledger->current);
    return status == FT_OK ? Py_NewRef(Py_None) : pyft_raise(status, "writing CSV rows");
}
