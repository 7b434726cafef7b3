"""What holds for the workflow as a whole, without running a job."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from wherein.digest import SCRIPTS, import_closure
from wherein.models.networks.registry import NETWORKS
from wherein.settings import schema

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
ENVS = sorted((ROOT / "workflow" / "envs").glob("*.yaml"))

CONDA_NAMES = {"opencv-python-headless": "opencv", "torch": "pytorch"}
"""Packages that conda-forge knows by another name than PyPI."""


def rules() -> dict[str, str]:
    """Text of every rule that runs a script, by name."""
    found = {}
    for file in RULES:
        if file.stem == "targets":
            continue
        parts = re.split(r"^(?:rule|checkpoint) (\w+):$", file.read_text(), flags=re.M)
        found.update(zip(parts[1::2], parts[2::2], strict=True))
    return found


def locked() -> dict[str, str]:
    """Versions of the tested environment, by PyPI name in lower case."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {name.lower().replace("_", "-"): version for name, version in pairs}


@cache
def owners() -> dict[str, list[str]]:
    """Packages of PyPI by the modules that they bring."""
    return dict(packages_distributions())


@cache
def third_party(script: Path) -> set[str]:
    """PyPI names of the packages that a script imports, directly or through the library."""
    names = set()
    for file in import_closure(script):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    names -= set(sys.stdlib_module_names) | {"wherein"}
    known = owners()
    return {known[name][0].lower().replace("_", "-") if name in known else name for name in names}


def test_snakefile_fits_one_screen():
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 50


@pytest.mark.parametrize("name", sorted(rules()))
def test_rule_is_complete(name):
    text = rules()[name]
    for word in ("input", "output", "log", "benchmark", "conda", "threads", "resources", "params", "message", "script"):
        assert re.search(rf"^    {word}:", text, re.M), f"rule {name} has no {word}"
    assert f'code=code_digest("{name}")' in text
    assert f'"../scripts/{name}.py"' in text


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_script_is_thin(script):
    text = script.read_text()
    tree = ast.parse(text)
    assert script.stem in rules()
    assert ast.get_docstring(tree)
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [node.module for node in top] == ["wherein.logs"], "only the log is imported before the log is open"
    assert len(text.splitlines()) <= 40
    assert "from __future__" not in text


@pytest.mark.parametrize("path", sorted(SCRIPTS.rglob("*.py")), ids=lambda path: str(path.relative_to(SCRIPTS)))
def test_library_never_imports_snakemake(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(name.split(".")[0] == "snakemake" for name in names)


def test_truth_is_read_by_the_evaluation_only():
    readers = {name for name, text in rules().items() if "truth" in re.split(r"^    output:", text, flags=re.M)[0]}
    assert readers == {"evaluate", "evaluate_audit", "attend", "evaluate_segmentation"}


def test_simulated_fields_are_drawn_for_the_microscope_and_the_evaluation_only():
    """What a field is drawn from is its truth: who plans simulated sources could read it there."""
    plan = SCRIPTS / "wherein" / "simulate" / "plan.py"
    planners = {name for name in rules() if plan in import_closure(SCRIPTS / f"{name}.py")}
    assert planners == {"catalog", "simulate", "train_segmenter", "attend"}


def test_only_rules_over_all_shards_wait_for_the_catalog():
    common = (ROOT / "workflow" / "rules" / "common.smk").read_text()
    assert common.count("checkpoints.catalog.get()") == 1
    assert not any("checkpoints" in path.read_text() for path in RULES if path.name != "common.smk")
    for name, text in rules().items():
        if "{shard}" in re.split(r"^    output:", text, flags=re.M)[1].split("log:")[0]:
            inputs = re.split(r"^    output:", text, flags=re.M)[0]
            assert "shards.tsv" not in inputs
            assert "fields.parquet" not in inputs.replace('ancient("results/catalog/fields.parquet")', ""), name


@pytest.mark.parametrize("name", sorted(rules()))
def test_environment_names_what_the_script_imports(name):
    env = re.search(r'"\.\./envs/(\w+)\.yaml"', rules()[name]).group(1)
    content = yaml.safe_load((ROOT / "workflow" / "envs" / f"{env}.yaml").read_text())
    packages = {item.split("=")[0].strip() for item in content["dependencies"]}
    wanted = {CONDA_NAMES.get(package, package) for package in third_party(SCRIPTS / f"{name}.py")}
    assert wanted <= packages, f"{env}.yaml lacks {sorted(wanted - packages)}"


@pytest.mark.parametrize("name", ["train", "embed_network", "export_model"])
def test_environment_names_what_networks_import(name):
    """Networks are imported by the name of their module, which the import closure of a script does not show."""
    env = re.search(r'"\.\./envs/(\w+)\.yaml"', rules()[name]).group(1)
    content = yaml.safe_load((ROOT / "workflow" / "envs" / f"{env}.yaml").read_text())
    packages = {item.split("=")[0].strip() for item in content["dependencies"]}
    for entry in NETWORKS.values():
        file = (SCRIPTS / entry.module.replace(".", "/")).with_suffix(".py")
        wanted = {CONDA_NAMES.get(package, package) for package in third_party(file)}
        assert wanted
        assert wanted <= packages, f"{env}.yaml lacks {sorted(wanted - packages)} of {entry.name}"


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_environment_is_the_tested_one(path):
    content = yaml.safe_load(path.read_text())
    assert content["channels"] == ["conda-forge", "bioconda", "nodefaults"]
    pypi_names = {conda: pypi for pypi, conda in CONDA_NAMES.items()}
    versions = locked()
    for item in content["dependencies"]:
        assert isinstance(item, str), "no pip section"
        name, version = (part.strip() for part in item.split("=", 1))
        if name == "python":
            assert version == "3.11"
            continue
        tested = versions[pypi_names.get(name, name)]
        # conda-forge counts the fourth part of OpenCV's version as a build of its wheel
        assert tested == version or (name == "opencv" and tested.startswith(version + ".")), f"{name}: tested {tested}"


def settings_in(node: dict, prefix: str = "") -> dict[str, dict]:
    """Every key of the schema, by its dotted path, with its description and default."""
    definitions = schema()["$defs"]
    if "$ref" in node:
        node = definitions[node["$ref"].rsplit("/", 1)[1]]
    found = {}
    for name, child in node.get("properties", {}).items():
        child = definitions[child["$ref"].rsplit("/", 1)[1]] if "$ref" in child else child
        path = f"{prefix}{name}"
        found[path] = child
        found.update(settings_in(child, f"{path}."))
        extra = child.get("additionalProperties")
        if isinstance(extra, dict) and "properties" in extra and name != "sources":
            found.update(settings_in(extra, f"{path}.<name>."))
    return found


def all_settings() -> dict[str, dict]:
    found = settings_in(schema())
    for kind in ("table", "crops", "vectors", "hpa", "opencell", "simulated"):
        own = schema()["$defs"][f"{kind}_source"]
        found.update({f"sources.<{kind}>.{path}": child for path, child in settings_in(own).items()})
    return found


@pytest.mark.parametrize("path", sorted(all_settings()))
def test_every_key_is_described_and_documented(path):
    child = all_settings()[path]
    if child.get("properties") or path.endswith(".kind"):
        return
    assert child.get("description"), f"{path} has no description in the schema"
    row = re.search(rf"^\| `{re.escape(path)}` \|(.*)\|$", (ROOT / "config" / "README.md").read_text(), re.M)
    assert row, f"config/README.md has no row for {path}"
    if "default" in child:
        assert f"`{yaml.safe_dump(child['default'], default_flow_style=True).splitlines()[0]}`" in row.group(1)


def test_every_ready_configuration_parses():
    for path in sorted((ROOT / "config").glob("*.yaml")):
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "--configfile", str(path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        text = done.stdout + done.stderr
        # a template whose table is not filled in may stop, but then with the one clear line
        assert done.returncode == 0 or re.search("(Config|Table)Error", text), f"{path.name}:\n{text}"


LOADED = """
import sys
from snakemake.cli import main
try:
    main(["--list-rules"])
except SystemExit as done:
    assert not done.code
print("loaded:", *sorted({name.split(".")[0] for name in sys.modules}))
"""


def loaded(folder: Path) -> set[str]:
    """Packages that Snakemake has loaded once it has parsed the workflow in a folder."""
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.rsplit("loaded:", 1)[1].split())


def test_parsing_loads_nothing_heavy(tmp_path):
    """Every job parses the workflow anew: what parsing costs is measured by benchmarks/parsing.py."""
    (tmp_path / "Snakefile").write_text("rule all:\n    input: []\n")
    heavy = {
        "torch",
        "pandas",
        "numpy",
        "pyarrow",
        "zarr",
        "tifffile",
        "imagecodecs",
        "cv2",
        "skimage",
        "sklearn",
        "scipy",
    }
    assert not (loaded(ROOT) - loaded(tmp_path)) & heavy


def test_project_speaks_of_itself_alone():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    banned = re.compile(r"/work/|pypi\.org|deb\.debian|registry\.npmjs")
    pictures = (".png", ".jpg", ".webp")
    for name in files:
        path = ROOT / name
        if path.is_file() and path != Path(__file__) and path.suffix not in pictures:
            assert not banned.search(path.read_text(errors="ignore")), name
