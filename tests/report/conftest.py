"""A study as the joint analysis leaves it, and headless Chromium."""

import shutil
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--window-size=1300,1000",
)  # fmt: skip


@pytest.fixture(scope="session")
def _toy_study() -> AnnData:
    import histoquilt as hq

    joint = hq.datasets.toy_section(n_spots=400, n_genes=120, n_domains=5, n_sections=3, seed=0)
    hq.tl.spatial_domains(joint, 5, section_key="section", denoise=False, progress=False)
    hq.tl.domain_markers(joint)
    joint.obsm["spatial_aligned"] = joint.obsm["spatial"] - 1000
    before = np.log1p(joint.X.toarray())
    before += 3 * joint.obs["section"].cat.codes.to_numpy()[:, None]  # sections apart
    embeddings = {"before": before, "histoquilt": joint.obsm["X_domains"]}
    ours = joint.uns["histoquilt"]
    ours["mixing"] = hq.metrics.mixing_table(embeddings, joint.obs["section"], joint.obs["domain_true"])
    ours["integration"] = {"links": "stack", "n_links": 3, "sections": "s1, s2, s3", "n_shared_genes": 120}
    stable = [True, True, True, True, False]
    weakest = [0.95, 0.9, 0.9, 0.85, 0.4]
    curve = {"n_domains": range(2, 7), "stability": 0.9, "sd": 0.02, "weakest": weakest, "weakest_sd": 0.1}
    ours["n_domains_curve"] = pd.DataFrame({**curve, "stable": stable})
    ours["domain"]["chosen"] = True
    ours["alignment"] = {
        name: {"reference": "s1", "residual_um": 12.0 * place, "agreement": 0.5 + place / 10}
        for place, name in enumerate(["s1", "s2", "s3"])
    }
    return joint


@pytest.fixture
def toy_study(_toy_study) -> Callable[[], AnnData]:
    """Make a study of three toy sections, 400 spots each, with 5 domains found, in its own copy."""
    return _toy_study.copy


@pytest.fixture(scope="session")
def _nested() -> AnnData:
    from histoquilt.datasets import toy_section
    from histoquilt.tl import domain_tree

    adata = toy_section(n_spots=400, n_genes=60, n_domains=4, seed=0)
    true = adata.obs["domain_true"].astype("category").cat.codes.to_numpy() % 4
    adata.obsm["X_domains"] = 9 * np.eye(4)[true] + np.random.default_rng(0).normal(size=(adata.n_obs, 4))
    adata.obs["domain"] = pd.Categorical(np.array(["1", "1", "2", "3"])[true])
    adata.obsm["spatial"] = 50.0 * np.stack(np.divmod(np.arange(400), 20), axis=1)
    domain_tree(adata)
    assert adata.obs["domain_fine"].cat.categories.tolist() == ["1.1", "1.2", "2", "3"]
    return adata


@pytest.fixture
def nested(_nested: AnnData) -> AnnData:
    """Return 400 spots 50 apart in three domains, the first of two parts, with the levels 2, 3 and fine."""
    return _nested.copy()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver: install Debian's chromium and chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing: pip install 'histoquilt[test]'")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.get("about:blank")
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, tmp_path):
    """Write a report, open it, and wait until its maps are drawn."""

    def open_report(sections, **arguments):
        from tests.report.browsing import painted, until

        from histoquilt.report import write_report

        path = tmp_path / "report.html"
        write_report(sections, path, **arguments)
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)  # what came before
        browser.get(path.as_uri())
        until(lambda: painted(browser) > 100)
        return browser

    return open_report
