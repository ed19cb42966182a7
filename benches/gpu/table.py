#!/usr/bin/env python3
"""Makes a table of the logs that run.sh leaves: table.py FOLDER. A part that failed is named, not left out."""
import csv
import pathlib
import re
import sys

# Dense bf16, without sparsity, as the makers state it: TFLOP/s.
PEAK = {"H100 80GB HBM3": 989, "H200": 989, "H100 PCIe": 756, "A100": 312, "L40S": 362, "L4": 121, "RTX 4090": 165}


def main():
    folder = pathlib.Path(sys.argv[1])
    machine = (folder / "machine.log").read_text()
    card = next((name for name in PEAK if name in machine), None)
    print(f"GPU: {card or 'unknown'}; bf16 peak {PEAK.get(card, '?')} TFLOP/s\n")
    for line in (folder / "parts.log").read_text().splitlines():
        if "exit 0" not in line:
            print(f"- FAILED: {line}")
    for log in sorted(folder.glob("*golden*.log")) + sorted(folder.glob("operators.log")):
        for line in re.findall(r"test result:.*|LEAST COSINE.*", log.read_text()):
            print(f"- {log.stem}: {line}")
    rows = {}
    for log in sorted(folder.glob("*.log")):
        for line in log.read_text().splitlines():
            fields = line.split("\t")
            if len(fields) == 3:
                rows[fields[0]] = (float(fields[1]), fields[2])
    print("\n| what | figure |\n|---|---|")
    for name, (value, unit) in rows.items():
        print(f"| {name} | {value:,.1f} {unit} |")

    profile = folder / "profile.log"
    if profile.exists():
        print("\nOne batch of 128, vision tower of base, where the time goes:\n\n| kernel | launches | us | % |\n|---|---|---|---|")
        lines = [line for line in profile.read_text().splitlines() if line.startswith('"')]
        kernels = list(csv.DictReader(lines))
        starts = [i for i, kernel in enumerate(kernels) if kernel["Kernel Name"].startswith("patches")]
        unit = {"nsecond": 1e-3, "ns": 1e-3, "usecond": 1, "us": 1, "msecond": 1e3, "ms": 1e3}
        times = {}
        for kernel in kernels[starts[-1]:] if starts else []:
            name = kernel["Kernel Name"][:60]
            time = float(kernel["Metric Value"].replace(",", "")) * unit[kernel["Metric Unit"]]
            count, sum_ = times.get(name, (0, 0.0))
            times[name] = (count + 1, sum_ + time)
        total = sum(time for _, time in times.values()) or 1
        for name, (count, time) in sorted(times.items(), key=lambda item: -item[1][1]):
            print(f"| `{name}` | {count} | {time:,.0f} | {100 * time / total:.1f} |")

    def best(pattern):
        found = [value for name, (value, _) in rows.items() if re.fullmatch(pattern, name)]
        return max(found, default=None)

    print()
    for size in ("base", "large"):
        ours = best(rf"vision tower {size} bf16 on cuda( with BT_HOPPER)? batch \d+")
        for peer in ("torch.compile", "torch eager"):
            theirs = best(rf"{re.escape(peer)} bf16 vision tower {size} batch \d+")
            if ours and theirs:
                print(f"{size}: {ours:,.0f} pictures/s, {peer} {theirs:,.0f}: {ours / theirs:.2f} times")
        reached = best(rf"vision tower {size} bf16 on cuda( with BT_HOPPER)? at its best")
        if reached and card:
            print(f"{size}: {reached:.0f} TFLOP/s, {100 * reached / PEAK[card]:.0f} % of the card's bf16 peak")


if __name__ == "__main__":
    main()
