"""Summaries that commands print at their end."""

from typing import Any

from histoquilt import jobs

WIDTH = 136  # of the printed table if stdout is not a terminal


def show_domains(result: jobs.DomainsResult) -> None:
    """Print spots and domains of every section."""
    for name, n_spots in result.facts["n_spots"].items():
        print(f"{name}: {n_spots:,} spots, {(result.n_found or {})[name]} domains")
    for name, found in (result.facts.get("annotation") or {}).items():
        agreement = f"over {found['n_spots']:,} spots of {found['n_regions']} annotated regions"
        if found["ari"] is None:
            print(f"{name}: no agreement with the annotation can be measured {agreement}")
        else:
            print(f"{name}: agreement with the annotation: ARI {found['ari']:.3f}, NMI {found['nmi']:.3f} {agreement}")
    _show_end(result)


def show_training(result: jobs.JobResult) -> None:
    """Print the size of the model and its inner scores."""
    facts = result.facts
    print(f"{facts['method']}: {facts['n_genes']:,} genes from {len(facts['n_spots'])} sections, saved to {result.out}")
    for name, scores in facts["inner_validation"].items():
        if scores["n_folds"]:
            print(
                f"  {name}: median correlation {scores['pcc_median']:.3f}{_at_equal_depth(scores)} on left-out "
                f"training sections, {scores['n_beats_mean']:,} of {scores['n_genes']:,} genes better than the mean"
            )
        else:
            print(f"  {name}: keeps no predictions of left-out training sections")
        if name == facts["method"] and "stack" in facts:
            _show_members(facts["stack"])
    _show_skipped(result)


def _show_members(stack: dict[str, Any]) -> None:
    """Print the weights of the members of a stack, and the mean correlations that the weights are chosen by."""
    scores = stack["inner_scores"]
    if scores["stack"] is not None:
        kind = "mean correlation at equal depth" if stack["at_equal_depth"] else "mean correlation"
        print(f"    {kind} {scores['stack']:.3f}; of its members alone:")
    for name, weight in stack["weights"].items():
        alone = "" if scores[name] is None else f" {scores[name]:.3f},"
        print(f"    {name}:{alone} weight {f'{weight:.2f}' if weight else '0, not used'}")
    if not stack["validated"]:
        print("    the weights are equal: on left-out training sections no others are shown to be better")


def show_prediction(result: jobs.JobResult) -> None:
    """Print spots, genes and unfamiliar tissue of every prediction."""
    facts = result.facts
    for name, n_spots in facts["n_spots"].items():
        outside = f"{facts['out_of_distribution'][name]:.0%} unlike the training tissue"
        print(f"{name}: {n_spots:,} spots, {facts['n_genes']:,} genes, {outside}")
        if facts["transfers"][name] is None:
            print("  too few spots to judge whether its reliability holds here")
        elif not facts["transfers"][name]:
            print("  the image features vary differently than in training: its reliability does not hold here")
    _show_end(result)


def show_evaluation(result: jobs.EvaluateResult) -> None:
    """Print one line per method: its score with its interval, and how it compares with ridge."""
    from rich.table import Table

    if result.hest is not None:
        _show_hest(result)
        return
    evaluation: Any = result.evaluation
    console = wide_console()
    n_sections = evaluation.scores.loc[evaluation.scores["fold"] != "all", "section"].nunique()
    adjusted = evaluation.decided_by == "pcc_median_adjusted"
    title = f"Median over the panel, mean of {n_sections} held-out sections"
    table = Table(title=f"{title}; raw correlation, at equal depth, and deviance explained", box=None)
    for column in ("method", "", "raw", "adjusted", "deviance", f"95 % interval ({'adjusted' if adjusted else 'raw'})"):
        table.add_column(column, justify="right" if column in ("raw", "adjusted", "deviance") else "left")
    table.add_column("compared with ridge", overflow="fold")
    for name, row in evaluation.summary().iterrows():
        verdicts = "; ".join(
            text for text in (row["verdict_ridge_plain"], row["verdict_ridge"]) if isinstance(text, str) and text
        )
        interval = f"{row['low']:.3f} to {row['high']:.3f}" if row["low"] == row["low"] else "none (1 section)"
        remark = "looks at the answer" if row["kind"] == "oracle" else verdicts
        if name == "predicted_depth":
            remark = "depth alone: explains no deviance by construction"
        scores = [row[value] for value in ("pcc_median", "pcc_median_adjusted", "deviance_median")]
        numbers = ["–" if score != score else f"{score:.3f}" for score in scores]
        table.add_row(str(name), row["kind"], *numbers, interval, remark)
    console.print(table)
    if not adjusted:
        print("No section has raw counts, so that depth could not be separated: raw correlations follow it, too.")
    if len(evaluation.domains):
        means = evaluation.domains.groupby("method", sort=False)["ari"].mean().sort_values(ascending=False)
        print(
            "Domains against the annotation, mean ARI: " + ", ".join(f"{name} {ari:.3f}" for name, ari in means.items())
        )
    if evaluation.optimistic:
        print(
            "These scores are optimistic: training held the same patient or slide, or patients are not known. A new "
            "patient will get less (--leave-out patient)."
        )
    if evaluation.facts["protocol"] == "published":
        print("published.csv holds scores in the papers' own, flawed definition, to compare with their tables only.")
    _show_end(result)


def show_study(result: jobs.StudyResult) -> None:
    """Print what a study's folder holds, what is missing, and where the table is."""
    facts = result.facts
    print(
        f"{facts['layout']} in {facts['root']}: {facts['n_sections']} section(s) of {facts['n_patients'] or 'unknown'} "
        f"patient(s), {facts['n_images']} with an image, {facts['n_labelled']} with labels"
    )
    for sentence in (*facts["missing"], *facts["notes"]):
        print(f"  {sentence}")
    print(f"Table: {result.out}")


def wide_console() -> Any:
    """Return a console for tables, wide if stdout is not a terminal; names in brackets are printed as they are."""
    from rich.console import Console

    options: Any = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**options)
    return console if console.is_terminal else Console(**options, width=WIDTH)


def _show_hest(result: jobs.EvaluateResult) -> None:
    """Print the mean correlations of HEST-Bench, one line per method and one column per task."""
    from rich.table import Table

    overview: Any = result.hest
    tasks = list(result.facts["tasks"])
    own, quoted = overview[overview["kind"] != "quoted"], overview[overview["kind"] == "quoted"]
    print(f"HEST-Bench with {result.facts['encoder']}: mean correlation with log1p of raw counts")
    table = Table(box=None)
    for column in ("method", "", "average", "at equal depth", *tasks):
        table.add_column(column, justify="left" if column in ("method", "") else "right")
    for row in own.to_dict("records"):
        scores = [row[column] for column in ("average", "average_adjusted", *tasks)]
        table.add_row(row["method"], row["kind"], *("–" if score != score else f"{score:.3f}" for score in scores))
    wide_console().print(table)
    for name, task in result.facts["tasks"].items():
        if task["methods_left_out"]:
            print(f"{name}: only the probe was run: {task['methods_left_out']}.")
    if len(quoted):
        print(f"table.csv and the report quote {len(quoted)} published rows, which were not computed here.")
    else:
        print("No published rows are quoted: none are known for tasks of these names.")
    _show_skipped(result)
    print(f"Under our rules, and all tables: {result.out / 'report.html'}")


def show_comparison(result: jobs.CompareResult) -> None:
    """Print who was compared, and the number of differences of each kind."""
    facts = result.facts
    for contrast in facts["contrasts"]:
        n, m = contrast["n_condition"], contrast["n_reference"]
        who = f"{n} patients with both" if contrast["paired"] else f"{n} and {m} patients"
        print(f"{contrast['condition']} against {contrast['reference']}: {who}")
        if contrast["note"]:
            print(f"  {contrast['note']}")
    found = ", ".join(f"{name} {n:,}" for name, n in facts["found"].items())
    print(f"Differences at a false discovery rate of 5 %: {found}")
    _show_end(result)


def show_export(result: jobs.JobResult) -> None:
    """Print the path of every file written."""
    for name in result.facts["files"]:
        print(result.out / name)


def show_demo(result: jobs.DemoResult) -> None:
    """Print the scores of both tasks."""
    section: Any = result.section
    scores: Any = result.scores
    expression: Any = result.expression_scores
    n_domains = result.facts["n_domains"]
    print(f"1. Domains of a built-in section: {section.n_obs:,} spots, {section.n_vars} genes, {n_domains} domains.")
    print(f"  {'agreement with the truth':<48}{'ARI':>6}{'NMI':>7}")
    for row in scores.itertuples():
        print(f"  {row.method:<48}{row.ari:>6.3f}{row.nmi:>7.3f}")
    print("2. Expression predicted from H&E: trained on two sections; of the third only the image is used.")
    for row in expression.itertuples():
        print(f"  {f'{row.what}, {row.method}':<58}{row.score:>6.3f}")
    print(f"Look at: {result.out / 'report.html'} (domains of both slides)")
    print(f"         {result.out / 'expression.html'} (predicted and measured genes on the tissue)")
    print(f"         {result.out / 'viewers.html'} (where to drag the files for QuPath and other viewers)")


def _at_equal_depth(scores: dict[str, Any]) -> str:
    adjusted = scores["pcc_median_adjusted"]
    return "" if adjusted is None else f" ({adjusted:.3f} at equal depth)"


def _show_skipped(result: jobs.JobResult) -> None:
    for name in result.facts.get("skipped", ()):
        print(f"{name}: left out")


def _show_end(result: jobs.JobResult) -> None:
    _show_skipped(result)
    print(f"Report: {result.out / 'report.html'}")
