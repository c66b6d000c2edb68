/* The table of devices, and how a driver's name finds its row. */
/* SPDX-License-Identifier: MIT */
#include "ft_peaks.h"

#include <string.h>

/* float64, float32, tf32, bfloat16, float16; 0: none, or none that a second public source confirms.
 * Where a data sheet states figures with sparsity only, half of them. */
static const ft_peak peaks[] = {
    {"NVIDIA V100 SXM2",
     "V100 SXM2",
     {7.8e12, 15.7e12, 0, 0, 125e12},
     "NVIDIA V100 Tensor Core GPU, data sheet (January 2020)"},
    {"NVIDIA V100 PCIe",
     "V100 PCIE",
     {7e12, 14e12, 0, 0, 112e12},
     "NVIDIA V100 Tensor Core GPU, data sheet (January 2020)"},
    {"NVIDIA V100S PCIe",
     "V100S PCIE",
     {8.2e12, 16.4e12, 0, 0, 130e12},
     "NVIDIA V100 Tensor Core GPU, data sheet (January 2020)"},
    {"NVIDIA T4", "T4", {0, 8.1e12, 0, 0, 65e12}, "NVIDIA T4 Tensor Core GPU, data sheet (2019)"},
    {"NVIDIA A100",
     "A100 SXM4|A100 PCIE",
     {19.5e12, 19.5e12, 156e12, 312e12, 312e12},
     "NVIDIA A100 Tensor Core GPU, data sheet (2021)"},
    {"NVIDIA A30",
     "A30",
     {10.3e12, 10.3e12, 82e12, 165e12, 165e12},
     "NVIDIA A30 Tensor Core GPU, data sheet (2021)"},
    {"NVIDIA A10",
     "A10",
     {0, 31.2e12, 62.5e12, 125e12, 125e12},
     "NVIDIA A10 Tensor Core GPU, data sheet (2021)"},
    {"NVIDIA A40",
     "A40",
     {0, 37.4e12, 74.8e12, 149.7e12, 149.7e12},
     "NVIDIA A40, data sheet (2021)"},
    {"NVIDIA RTX A6000",
     "RTX A6000",
     {0, 38.7e12, 77.4e12, 154.8e12, 154.8e12},
     "NVIDIA Ampere GA102 GPU Architecture, whitepaper V2.0, appendix C"},
    {"NVIDIA GeForce RTX 3090",
     "RTX 3090",
     {0, 35.6e12, 35.6e12, 71e12, 71e12},
     "NVIDIA Ampere GA102 GPU Architecture, whitepaper V2.0, appendix A"},
    {"NVIDIA GeForce RTX 4090",
     "RTX 4090",
     {0, 82.6e12, 82.6e12, 165.2e12, 165.2e12},
     "NVIDIA Ada GPU Architecture, whitepaper V2, appendix A"},
    {"NVIDIA L4",
     "L4",
     {0, 30.3e12, 60e12, 121e12, 121e12},
     "NVIDIA L4 Tensor Core GPU, data sheet (2023); half of the figures with sparsity"},
    {"NVIDIA L40",
     "L40",
     {0, 90.5e12, 90.5e12, 181.05e12, 181.05e12},
     "NVIDIA L40, data sheet (2023)"},
    {"NVIDIA L40S",
     "L40S",
     {0, 91.6e12, 183e12, 362.05e12, 362.05e12},
     "NVIDIA L40S, data sheet (2023)"},
    {"NVIDIA H100 SXM",
     "H100 HBM3|H100 SXM5",
     {66.9e12, 66.9e12, 494.7e12, 989.4e12, 989.4e12},
     "NVIDIA H100 Tensor Core GPU Architecture, whitepaper V1.04"},
    {"NVIDIA H100 PCIe",
     "H100 PCIE",
     {51.2e12, 51.2e12, 378e12, 756e12, 756e12},
     "NVIDIA H100 Tensor Core GPU Architecture, whitepaper V1.04"},
    {"NVIDIA H100 NVL",
     "H100 NVL",
     {0, 0, 417.5e12, 835.5e12, 835.5e12},
     "NVIDIA H100 Tensor Core GPU, data sheet (2024); half of the figures with sparsity"},
    {"NVIDIA H200",
     "H200",
     {67e12, 67e12, 494.5e12, 989.5e12, 989.5e12},
     "NVIDIA H200 Tensor Core GPU, data sheet (2024); half of the figures with sparsity"},
    {"NVIDIA B200",
     "B200",
     {37e12, 75e12, 1100e12, 2250e12, 2250e12},
     "NVIDIA Blackwell, data sheet (2025), HGX B200; half of the figures with sparsity"},
    {"AMD Instinct MI250X, one of its two dies",
     "MI250X",
     {47.85e12, 47.85e12, 0, 191.5e12, 191.5e12},
     "AMD Instinct MI250X, data sheet (2021); half, since a driver shows each die as a device"},
    {"AMD Instinct MI300X",
     "MI300X|MI300X OAM",
     {163.4e12, 163.4e12, 653.7e12, 1307.4e12, 1307.4e12},
     "AMD Instinct MI300X, data sheet (2023)"},
    {"Google TPU v4", "TPU V4", {0, 0, 0, 275e12, 0}, "Google Cloud documentation, TPU v4"},
    {"Google TPU v5e",
     "TPU V5E|TPU V5 LITE",
     {0, 0, 0, 197e12, 0},
     "Google Cloud documentation, TPU v5e"},
    {"Google TPU v5p",
     "TPU V5P|TPU V5",
     {0, 0, 0, 459e12, 0},
     "Google Cloud documentation, TPU v5p"},
    {"Google TPU v6e",
     "TPU V6E|TPU V6 LITE",
     {0, 0, 0, 918e12, 0},
     "Google Cloud documentation, TPU v6e"},
};

const char *
ft_format_name(ft_format format)
{
    static const char *const names[FT_FORMAT_COUNT] = {"float64", "float32", "tf32", "bfloat16",
                                                       "float16"};
    return names[format];
}

const ft_peak *
ft_peaks(size_t *count)
{
    *count = FT_COUNT_OF(peaks);
    return peaks;
}

/* ---- words ---- */

typedef struct {
    const char *start;
    size_t length;
} word;

static bool
in_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static char
upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c;
}

/* Moves *text behind its next word; of length 0 at its end, which a '|' is as well. */
static word
next_word(const char **text)
{
    const char *at = *text;
    while (*at != '\0' && *at != '|' && !in_word(*at)) {
        at++;
    }
    word found = {at, 0};
    for (; in_word(*at); at++) {
        found.length++;
    }
    *text = at;
    return found;
}

static bool
same_word(word a, word b)
{
    for (size_t i = 0; i < a.length && a.length == b.length; i++) {
        if (upper(a.start[i]) != upper(b.start[i])) {
            return false;
        }
    }
    return a.length == b.length;
}

static bool
contains(const char *text, word wanted)
{
    for (word found = next_word(&text); found.length > 0; found = next_word(&text)) {
        if (same_word(found, wanted)) {
            return true;
        }
    }
    return false;
}

/* Makers, brands, and how much memory there is ("80GB") change no peak. */
static bool
means_nothing(word found)
{
    static const char brands[] = "NVIDIA AMD GOOGLE TESLA GEFORCE INSTINCT";
    size_t digits = 0;
    while (digits < found.length && found.start[digits] >= '0' && found.start[digits] <= '9') {
        digits++;
    }
    bool memory = digits > 0 &&
                  same_word((word){found.start + digits, found.length - digits}, (word){"GB", 2});
    return memory || contains(brands, found);
}

/* Whether each has all the words of the other; `text` ends at a '|' too. */
static bool
names_device(const char *text, const char *name)
{
    const char *rest = text;
    for (word wanted = next_word(&rest); wanted.length > 0; wanted = next_word(&rest)) {
        if (!contains(name, wanted)) {
            return false;
        }
    }
    for (word found = next_word(&name); found.length > 0; found = next_word(&name)) {
        if (!contains(text, found) && !means_nothing(found)) {
            return false;
        }
    }
    return true;
}

const ft_peak *
ft_peak_find(const char *name)
{
    for (size_t i = 0; i < FT_COUNT_OF(peaks); i++) {
        const char *text = peaks[i].names;
        do {
            if (names_device(text, name)) {
                return &peaks[i];
            }
            text = strchr(text, '|');
            text = text == NULL ? NULL : text + 1;
        } while (text != NULL);
    }
    return NULL;
}
