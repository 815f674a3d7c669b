"""Scores that the authors of HEST-Bench published, to be quoted beside ours."""

from collections.abc import Sequence
from io import StringIO

import pandas as pd

SOURCE = 'mahmoodlab/HEST on GitHub, README, "HEST-Benchmark results (03.04.26)"'

# ridge regression on 256 principal components, mean Pearson correlation over 50 genes
_TABLE = """encoder,IDC,PRAD,PAAD,SKCM,COAD,READ,CCRCC,LUNG,LYMPH_IDC
H-Optimus-1,0.6024,0.3781,0.4964,0.6589,0.3195,0.2421,0.2533,0.5779,0.2774
GenBio-PathFM,0.5872,0.3913,0.4959,0.6715,0.3284,0.1785,0.2615,0.5787,0.2842
H-Optimus-0,0.5976,0.3848,0.4911,0.6454,0.3086,0.2216,0.2676,0.5590,0.2591
UNI2-h,0.5898,0.3569,0.5001,0.6606,0.3015,0.2223,0.2640,0.5587,0.2727
Virchow,0.5846,0.3378,0.5159,0.6243,0.3079,0.1981,0.2586,0.5664,0.2610
Virchow2,0.5971,0.3529,0.4779,0.6402,0.2581,0.2074,0.2719,0.5685,0.2568
Midnight-12k,0.5823,0.3370,0.4900,0.6360,0.2908,0.1856,0.2132,0.5577,0.2642
H0-mini,0.5862,0.3687,0.4919,0.6012,0.2494,0.1863,0.2670,0.5482,0.2629
OpenMidnight,0.5870,0.3590,0.4731,0.5941,0.2728,0.1762,0.2458,0.5534,0.2598
Hibou-L,0.5701,0.2945,0.4674,0.5817,0.3040,0.1902,0.2657,0.5762,0.2432
GigaPath,0.5515,0.3699,0.4746,0.5619,0.2992,0.1961,0.2430,0.5412,0.2500
UNI,0.5890,0.2943,0.4807,0.6346,0.2614,0.1836,0.2400,0.5464,0.2559
CONCH v1.5,0.5440,0.3808,0.4570,0.5517,0.2802,0.1600,0.2176,0.5513,0.2699
GPFM,0.5660,0.3423,0.4601,0.5891,0.2480,0.1646,0.2591,0.5472,0.2371
Phikon-v2,0.5408,0.3545,0.4455,0.5554,0.2500,0.1749,0.2659,0.5419,0.2437
Kaiko ViT-B/8,0.5599,0.3611,0.4601,0.5725,0.2683,0.1623,0.2313,0.5183,0.2273
CONCH v1,0.5363,0.3548,0.4468,0.5787,0.2489,0.1602,0.2180,0.5322,0.2507
Lunit ViT-S/8,0.5449,0.2829,0.4267,0.5738,0.2826,0.1610,0.2463,0.5415,0.2506
Phikon,0.5327,0.3420,0.4425,0.5355,0.2623,0.1532,0.2423,0.5466,0.2373
Kaiko ViT-B/16,0.5352,0.3275,0.4524,0.5502,0.2812,0.1525,0.2291,0.5156,0.2365
Kaiko ViT-L/14,0.5535,0.3470,0.4372,0.5533,0.2535,0.1472,0.2194,0.5379,0.2283
Kaiko ViT-S/8,0.5304,0.3340,0.4181,0.5174,0.2281,0.1469,0.2346,0.5053,0.2463
Kaiko ViT-S/16,0.5333,0.3483,0.4409,0.5449,0.2057,0.1328,0.2099,0.5030,0.2249
CTransPath,0.4993,0.3551,0.4314,0.5097,0.2382,0.0968,0.2362,0.5137,0.2409
MUSK,0.5248,0.3430,0.4277,0.5233,0.2365,0.1110,0.1825,0.5171,0.2545
ResNet50,0.4739,0.3044,0.3880,0.4821,0.2500,0.0783,0.2252,0.4949,0.2305
"""


def quoted_scores(tasks: Sequence[str]) -> pd.DataFrame:
    """Return the published rows of the probe for tasks of these names; empty if none of them is published.

    Columns ``method, kind`` (``quoted``)``, encoder, average``, one per task, and ``source``. The average is over
    `tasks`, NaN if one of them is not published.
    """
    known = pd.read_csv(StringIO(_TABLE), index_col="encoder")
    if not any(task in known for task in tasks):
        return pd.DataFrame()
    table = known.reindex(columns=list(tasks))
    table.insert(0, "average", table.mean(axis=1, skipna=False))
    table = table.sort_values("average", ascending=False, kind="stable").reset_index()
    table.insert(0, "kind", "quoted")
    table.insert(0, "method", "hest_probe")
    return table.assign(source=SOURCE)
