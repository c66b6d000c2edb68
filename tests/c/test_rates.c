/* Rates of counts, and the peaks of devices by the names of drivers. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

/* All are powers of two and small multiples, so that each double is exact. */
static void
test_rates(void)
{
    CHECK(ft_u128_to_double(ft_u128_of(0)) == 0);
    CHECK(ft_u128_to_double(ft_u128_of(1000)) == 1000);
    CHECK(ft_u128_to_double((ft_u128){5, 1}) == 18446744073709551616.0); /* 5 is below its ulp */
    CHECK(ft_rate(ft_u128_of(1024), 4) == 256);
    CHECK(ft_rate(ft_u128_of(0), 4) == 0);
}

/* 800 FLOPs at 400 a second and 100 at 50 take 2 s each at best; they took 16. */
static void
test_utilization(void)
{
    const ft_rate_part parts[] = {{ft_u128_of(800), 400}, {ft_u128_of(100), 50}};
    CHECK(ft_utilization(parts, 2, 16) == 0.25);
    CHECK(ft_utilization(parts, 1, 16) == 0.125);
    CHECK(ft_utilization(parts, 0, 16) == 0);
    CHECK(ft_joint_peak(parts, 2) == 225); /* 900 FLOPs in 4 s */
    CHECK(ft_joint_peak(parts, 1) == 400);
    CHECK(ft_joint_peak(parts, 0) == 0);
}

static void
check_device(const char *name, const char *device)
{
    const ft_peak *found = ft_peak_find(name);
    if (!CHECK_TEXT(found == NULL ? "unknown" : found->device, device)) {
        printf("    for %s\n", name);
    }
}

static void
test_names_of_drivers(void)
{
    check_device("NVIDIA A100-SXM4-80GB", "NVIDIA A100");
    check_device("A100-PCIE-40GB", "NVIDIA A100");
    check_device("NVIDIA A100 80GB PCIe", "NVIDIA A100");
    check_device("NVIDIA A10", "NVIDIA A10");
    check_device("NVIDIA L4", "NVIDIA L4");
    check_device("NVIDIA L40S", "NVIDIA L40S");
    check_device("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM");
    check_device("NVIDIA H100 PCIe", "NVIDIA H100 PCIe");
    check_device("NVIDIA H100 NVL", "NVIDIA H100 NVL");
    check_device("NVIDIA H200", "NVIDIA H200");
    check_device("Tesla T4", "NVIDIA T4");
    check_device("Tesla V100-SXM2-16GB", "NVIDIA V100 SXM2");
    check_device("NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 3090");
    check_device("AMD Instinct MI300X", "AMD Instinct MI300X");
    check_device("TPU v5 lite", "Google TPU v5e");
    check_device("TPU v5", "Google TPU v5p");
    check_device("tpu V4", "Google TPU v4");
}

/* One word more, or one less, is another device: none is better than a wrong one. */
static void
test_unknown_names(void)
{
    static const char *const names[] = {
        "",
        "NVIDIA",
        "80GB",
        "cpu",
        "NVIDIA A100",
        "NVIDIA A100-SXM-64GB",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA H100",
        "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        "NVIDIA A10G",
        "NVIDIA A10-24Q",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA H200 NVL",
        "NVIDIA GB200",
        "NVIDIA T4G",
        "AMD Instinct MI300A",
        "A100 | SXM4",
    };
    for (size_t i = 0; i < FT_COUNT_OF(names); i++) {
        check_device(names[i], "unknown");
    }
}

/* Every row is found by each of its own names, has a peak and a source, and is dense: no format of
 * 16 bits is more than twice a faster one of 32, save where there is no tf32. */
static void
test_rows(void)
{
    size_t count;
    const ft_peak *peaks = ft_peaks(&count);
    CHECK(count > 20);
    for (size_t i = 0; i < count; i++) {
        const ft_peak *row = &peaks[i];
        char names[64];
        snprintf(names, sizeof names, "%s", row->names);
        for (char *name = strtok(names, "|"); name != NULL; name = strtok(NULL, "|")) {
            check_device(name, row->device);
        }
        CHECK(strlen(row->source) > 10);
        bool any = false;
        for (int format = 0; format < FT_FORMAT_COUNT; format++) {
            double peak = row->peaks[format];
            CHECK(peak == 0 || (peak >= 1e12 && peak < 1e16));
            any = any || peak > 0;
        }
        CHECK(any);
        if (row->peaks[FT_TF32] > 0 && row->peaks[FT_BF16] > 0) {
            CHECK(row->peaks[FT_BF16] <= 2.1 * row->peaks[FT_TF32]);
        }
    }
    CHECK(ft_peak_find("NVIDIA A100-SXM4-40GB")->peaks[FT_BF16] == 312e12);
    CHECK(ft_peak_find("NVIDIA H100 80GB HBM3")->peaks[FT_BF16] == 989.4e12);
    CHECK_TEXT(ft_format_name(FT_FP64), "float64");
    CHECK_TEXT(ft_format_name(FT_FP16), "float16");
}

TEST_MAIN(test_rates, test_utilization, test_names_of_drivers, test_unknown_names, test_rows)
