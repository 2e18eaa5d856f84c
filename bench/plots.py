"""Bars with gnuplot: throughput.svg and latency.svg. Without gnuplot there are none."""

import shutil
import subprocess

PLOT = """
set terminal svg size 1000,420 background rgb 'white' font 'sans,12'
set output '{output}'
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.9 border -1
set boxwidth 0.9
set grid ytics
set yrange [0:*]
set ylabel '{unit}'
set title '{title}'
set xtics rotate by -20 noenhanced
set key top right noenhanced
$data << END
{data}
END
plot $data using 2:xtic(1) title 'pg_cqrs' lc rgb '#2b6cb0', '' using 3 title '{peer}' lc rgb '#c05621'
"""


def bars(path, title, unit, peer, rows):
    if not rows or not shutil.which("gnuplot"):
        return
    data = "\n".join(f'"{name}" {ours:.3f} {theirs:.3f}' for name, ours, theirs in rows)
    subprocess.run(
        ["gnuplot"],
        input=PLOT.format(output=path, title=title, unit=unit, peer=peer, data=data),
        text=True,
        check=True,
    )


def draw(results, directory):
    native = [r for r in results if r["peer"].startswith("native, ")]
    # One bar a case: the first, of the usual table.
    throughput, latency = {}, []
    for r in native:
        if r["unit"] == "rows/s":
            throughput.setdefault(r["case"], (r["case"], r["ours"], r["theirs"]))
        elif r["case"] == "latency-200":
            latency.append((r["unit"].split()[1], r["ours"], r["theirs"]))
    bars(
        directory / "throughput.svg",
        "Catch-up, to the last replica",
        "rows a second",
        "native logical replication",
        list(throughput.values()),
    )
    bars(
        directory / "latency.svg",
        "Commit acknowledged to visible on the replica, 200 commits a second",
        "milliseconds",
        "native logical replication",
        latency,
    )
