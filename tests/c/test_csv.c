/* CSV lines letter by letter, also under a locale with a decimal comma and with a failing sink. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"
#include "ft_test_doubles.h"

#include <locale.h>
#include <math.h>

#define STEP_HEADER \
    "epoch,step,batch_size,flops_batch,flops_epoch_cum,flops_total_cum,wall_time_s\n"
#define EPOCH_HEADER "epoch,flops_epoch,flops_total_cum,batches,samples,loss,wall_time_s,complete\n"
#define LARGEST_TEXT "340282366920938463463374607431768211454" /* 2^128 - 2, 39 digits */

static const ft_u128 largest = {UINT64_MAX - 1, UINT64_MAX};

static test_page page;

static void
check_step(ft_step step, ft_u128 epoch_cum, const char *expected)
{
    CHECK_STATUS(ft_csv_step(test_page_sink(&page, 0), &step, epoch_cum), FT_OK);
    CHECK_TEXT(page.text, expected);
    CHECK_U64(page.writes, 1); /* in one piece */
}

static void
check_epoch(ft_epoch epoch, const char *expected)
{
    CHECK_STATUS(ft_csv_epoch(test_page_sink(&page, 0), &epoch), FT_OK);
    CHECK_TEXT(page.text, expected);
    CHECK_U64(page.writes, 1);
}

static void
test_step_lines(void)
{
    ft_step zero = {0}, full = {UINT32_MAX, UINT32_MAX, UINT64_MAX, largest, largest, 4e9 + 0.5};
    /* 2^64, 2^65 and 2^127. */
    ft_step step = {3, 7, 32, {0, 1}, {0, (uint64_t)1 << 63}, 1.5};
    check_step(step, (ft_u128){0, 2},
               "3,7,32,18446744073709551616,36893488147419103232,"
               "170141183460469231731687303715884105728,1.500000\n");
    check_step(zero, FT_U128_ZERO, "0,0,0,0,0,0,0.000000\n");
    check_step(full, largest,
               "4294967295,4294967295,18446744073709551615," LARGEST_TEXT "," LARGEST_TEXT
               "," LARGEST_TEXT ",4000000000.500000\n");
}

static void
test_epoch_lines(void)
{
    ft_epoch epoch = {2, true, true, 10, 320, ft_u128_of(1000), {0, 1}, 12.25, 0.5, 0};
    check_epoch(epoch, "2,1000,18446744073709551616,10,320,0.5,12.250000,1\n");
    epoch.complete = false;
    check_epoch(epoch, "2,1000,18446744073709551616,10,320,0.5,12.250000,0\n");
    epoch.has_loss = false;
    check_epoch(epoch, "2,1000,18446744073709551616,10,320,,12.250000,0\n");
    ft_epoch full = {UINT32_MAX, true,    true,      UINT64_MAX,       UINT64_MAX,
                     largest,    largest, 4e9 + 0.5, -1.23456789e-300, 0};
    check_epoch(full, "4294967295," LARGEST_TEXT "," LARGEST_TEXT ",18446744073709551615,"
                      "18446744073709551615,-1.23456789e-300,4000000000.500000,1\n");
}

/* Microseconds, to the nearest; what is no duration reads 0. */
static void
test_seconds(void)
{
    static const struct {
        double seconds;
        const char *line;
    } known[] = {
        {0.0, "1,1,1,1,1,1,0.000000\n"},
        {0.0000004, "1,1,1,1,1,1,0.000000\n"},
        {0.0000006, "1,1,1,1,1,1,0.000001\n"},
        {0.000001, "1,1,1,1,1,1,0.000001\n"},
        {0.1, "1,1,1,1,1,1,0.100000\n"},
        {0.0123456, "1,1,1,1,1,1,0.012346\n"}, /* 12345.6 microseconds */
        {1.2345674, "1,1,1,1,1,1,1.234567\n"},
        {1.9999996, "1,1,1,1,1,1,2.000000\n"}, /* carries into the whole seconds */
        {59.9999994, "1,1,1,1,1,1,59.999999\n"},
        {1000000.25, "1,1,1,1,1,1,1000000.250000\n"},
        {-0.5, "1,1,1,1,1,1,0.000000\n"},
        {NAN, "1,1,1,1,1,1,0.000000\n"},
    };
    for (size_t i = 0; i < FT_COUNT_OF(known); i++) {
        ft_u128 one = ft_u128_of(1);
        check_step((ft_step){1, 1, 1, one, one, known[i].seconds}, one, known[i].line);
    }
}

/* Far beyond any run: whatever such a time reads, it must be a number in a sound line. */
static void
test_endless_seconds(void)
{
    static const double endless[] = {1e10, 999999999999.0, 999999999999.9999,
                                     1e12, 1e300,          INFINITY};
    static const char before[] = "4294967295,4294967295,18446744073709551615," LARGEST_TEXT
                                 "," LARGEST_TEXT "," LARGEST_TEXT ",";
    for (size_t i = 0; i < FT_COUNT_OF(endless); i++) {
        ft_step step = {UINT32_MAX, UINT32_MAX, UINT64_MAX, largest, largest, endless[i]};
        CHECK_STATUS(ft_csv_step(test_page_sink(&page, 0), &step, largest), FT_OK);
        CHECK(strncmp(page.text, before, sizeof before - 1) == 0);
        size_t whole = strspn(page.text + sizeof before - 1, "0123456789");
        CHECK(whole > 0 && page.text[sizeof before - 1 + whole] == '.');
        CHECK_U64(page.length, sizeof before - 1 + whole + sizeof ".000000"); /* and the newline */
    }
}

/* Nine significant digits. */
static void
test_losses(void)
{
    static const struct {
        double loss;
        const char *line;
    } known[] = {
        {0.0, "1,0,0,0,0,0,0.000000,1\n"}, /* a loss of 0 is not an absent one */
        {0.125, "1,0,0,0,0,0.125,0.000000,1\n"},
        {-0.5, "1,0,0,0,0,-0.5,0.000000,1\n"},
        {(double)0.1f, "1,0,0,0,0,0.100000001,0.000000,1\n"}, /* 0.100000001490116... */
        {2.0 / 3.0, "1,0,0,0,0,0.666666667,0.000000,1\n"},
        {123456789.0, "1,0,0,0,0,123456789,0.000000,1\n"},
        {12345678900.0, "1,0,0,0,0,1.23456789e+10,0.000000,1\n"},
        {1e-9, "1,0,0,0,0,1e-09,0.000000,1\n"},
        {NAN, "1,0,0,0,0,nan,0.000000,1\n"}, /* training went wrong, which is no secret */
        {-NAN, "1,0,0,0,0,nan,0.000000,1\n"},
        {INFINITY, "1,0,0,0,0,inf,0.000000,1\n"},
        {-INFINITY, "1,0,0,0,0,-inf,0.000000,1\n"},
    };
    for (size_t i = 0; i < FT_COUNT_OF(known); i++) {
        check_epoch(
            (ft_epoch){.epoch = 1, .complete = true, .has_loss = true, .loss = known[i].loss},
            known[i].line);
    }
}

/* `half` is how the locale writes 0.5. A locale that is not here is not tried, and that is said. */
static void
check_locale(const char *locale, const char *half)
{
    char text[16];
    if (setlocale(LC_NUMERIC, locale) == NULL) {
        printf("not tried: no locale %s here\n", locale);
        return;
    }
    snprintf(text, sizeof text, "%.1f", 0.5);
    if (CHECK_TEXT(text, half)) { /* the locale is really in force */
        test_losses();
        test_step_lines();
        test_epoch_lines();
        test_seconds();
    }
    setlocale(LC_NUMERIC, "C");
}

static void
test_comma_locale(void)
{
    check_locale("de_DE.UTF-8", "0,5");
}

/* Epoch 1: 10 FLOPs on 2 samples, 20 on 3; epoch 2 is broken off after 5 on 1. */
static void
fill(ft_epochs *run)
{
    ft_step step;
    ft_epoch epoch;
    CHECK_STATUS(ft_epochs_begin(run, 10.0), FT_OK);
    CHECK_STATUS(ft_epochs_batch(run, 2, ft_u128_of(10), 10.25, &step), FT_OK);
    CHECK_STATUS(ft_epochs_batch(run, 3, ft_u128_of(20), 10.75, &step), FT_OK);
    CHECK_STATUS(ft_epochs_end(run, true, &(double){0.5}, 11.0, &epoch), FT_OK);
    CHECK_STATUS(ft_epochs_begin(run, 20.0), FT_OK);
    CHECK_STATUS(ft_epochs_batch(run, 1, ft_u128_of(5), 21.0, &step), FT_OK);
    CHECK_STATUS(ft_epochs_end(run, false, NULL, 21.5, &epoch), FT_OK);
}

/* The sum within an epoch starts again: 10, 30, then 5; the run's goes on: 10, 30, 35. */
static const char all_steps[] = STEP_HEADER "1,1,2,10,10,10,0.250000\n"
                                            "1,2,3,20,30,30,0.500000\n"
                                            "2,1,1,5,5,35,1.000000\n";
static const char all_epochs[] = EPOCH_HEADER "1,30,30,2,5,0.5,1.000000,1\n"
                                              "2,5,35,1,1,,1.500000,0\n";

static void
test_all_records(void)
{
    ft_epochs run;
    ft_epochs_init(&run, ft_allocator_libc(), true, true);
    fill(&run);
    CHECK_STATUS(ft_csv_all_steps(test_page_sink(&page, 0), &run.ledger), FT_OK);
    CHECK_TEXT(page.text, all_steps);
    CHECK_U64(page.writes, 4); /* the header and three lines */
    CHECK_STATUS(ft_csv_all_epochs(test_page_sink(&page, 0), &run.ledger), FT_OK);
    CHECK_TEXT(page.text, all_epochs);
    CHECK_U64(page.writes, 3);
    ft_epochs_clear(&run);
    CHECK_TEXT(FT_CSV_STEP_HEADER, STEP_HEADER);
    CHECK_TEXT(FT_CSV_EPOCH_HEADER, EPOCH_HEADER);
}

static void
test_nothing_kept(void)
{
    ft_epochs run;
    ft_epochs_init(&run, ft_allocator_libc(), false, false);
    for (int filled = 0; filled < 2; filled++) { /* an empty run, and one that kept nothing */
        CHECK_STATUS(ft_csv_all_steps(test_page_sink(&page, 0), &run.ledger), FT_OK);
        CHECK_TEXT(page.text, STEP_HEADER);
        CHECK_STATUS(ft_csv_all_epochs(test_page_sink(&page, 0), &run.ledger), FT_OK);
        CHECK_TEXT(page.text, EPOCH_HEADER);
        fill(&run);
    }
    ft_epochs_clear(&run);
}

/* A failed write ends the output there: what came before it stands, nothing comes after. */
static void
test_failing_sink(void)
{
    ft_epochs run;
    ft_step step = {0};
    ft_epoch epoch = {0};
    ft_epochs_init(&run, ft_allocator_libc(), true, true);
    fill(&run);
    CHECK_STATUS(ft_csv_step(test_page_sink(&page, 1), &step, FT_U128_ZERO), FT_SINK_FAILED);
    CHECK_STATUS(ft_csv_epoch(test_page_sink(&page, 1), &epoch), FT_SINK_FAILED);
    for (size_t fail_at = 1; fail_at <= 4; fail_at++) {
        CHECK_STATUS(ft_csv_all_steps(test_page_sink(&page, fail_at), &run.ledger), FT_SINK_FAILED);
        CHECK_U64(page.writes, fail_at);
        CHECK(strncmp(page.text, all_steps, page.length) == 0);
    }
    for (size_t fail_at = 1; fail_at <= 3; fail_at++) {
        CHECK_STATUS(ft_csv_all_epochs(test_page_sink(&page, fail_at), &run.ledger),
                     FT_SINK_FAILED);
        CHECK_U64(page.writes, fail_at);
        CHECK(strncmp(page.text, all_epochs, page.length) == 0);
    }
    ft_epochs_clear(&run);
}

TEST_MAIN(test_step_lines, test_epoch_lines, test_seconds, test_endless_seconds, test_losses,
          test_comma_locale, test_all_records, test_nothing_kept, test_failing_sink)
