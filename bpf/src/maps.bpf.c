// SPDX-License-Identifier: GPL-3.0-or-later
/* The shared maps. No program. */
#define PS_DEFINE_MAPS
#include "maps.h"

/* The helpers used here and there are offered to GPL programs only. */
char LICENSE[] SEC("license") = "GPL";
