"""``llmops init --ci``: write the recipe of a CI service, with the install command of this project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops.cli.common import create_file, read_starter_files

INSTALL = "pip install -r requirements-dev.txt"  # as the recipes have it


@dataclass(frozen=True, slots=True)
class Recipe:
    """The files of a recipe, each with the path that it gets in the project, and the steps left to do by hand."""

    files: Mapping[str, str]
    steps: tuple[str, ...]


INSTALL_PLUGIN = "pip install pytest-llmops"  # of a project without a file that lists its packages
COMMENT = {"comment.sh": ".github/llmops-comment.sh"}
PUSH = "commit these files and open a pull request"
RECIPES: Mapping[str, Recipe] = {
    "github": Recipe({"github.yml": ".github/workflows/llm.yml", **COMMENT}, (PUSH,)),
    "github-forks": Recipe(
        {"github-forks.yml": ".github/workflows/llm-forks.yml", **COMMENT},
        ("commit these files to the default branch: GitHub runs the workflow from there",),
    ),
    "github-record": Recipe(
        {"github-record.yml": ".github/workflows/llm-record.yml"},
        ("store the key as the secret OPENAI_API_KEY of a GitHub environment with the name llm",),
    ),
    "gitlab": Recipe({"gitlab-ci.yml": ".gitlab-ci.yml"}, (PUSH.replace("pull", "merge"),)),
    "jenkins": Recipe({"Jenkinsfile": "Jenkinsfile"}, ("commit the file, and create a pipeline job for it",)),
}


@dataclass(frozen=True, slots=True)
class WrittenRecipe:
    """The files that were written, those that already existed, and the next steps."""

    written: tuple[Path, ...]
    left_alone: tuple[Path, ...]
    steps: tuple[str, ...]


def write_recipe(service: str, project: Path) -> WrittenRecipe:
    """Write the recipe of a CI service into a project. Files that exist are not changed.

    Args:
        service: One of `RECIPES`.
        project: The folder of the repository.

    Raises:
        UsageError: A file cannot be written.
    """
    recipe = RECIPES[service]
    texts = dict(read_starter_files("ci"))
    install = choose_install_command(project)
    written = []
    left_alone = []
    for name, target in recipe.files.items():
        path = project / target
        data = texts[name].replace(INSTALL.encode(), install.encode())
        if create_file(path, data):
            written.append(path)
        else:
            left_alone.append(path)
    steps = recipe.steps
    if install == INSTALL_PLUGIN and written:
        steps = (f"add the packages of your application to `{INSTALL_PLUGIN}` in the recipe", *steps)
    if left_alone:
        steps = (f"compare the file that was left alone with the recipe: {find_recipe_folder()}", *steps)
    return WrittenRecipe(tuple(written), tuple(left_alone), steps)


def choose_install_command(project: Path) -> str:
    """Return the command that installs the project and the plugin in CI, by the files of the project.

    >>> choose_install_command(Path("/no/such/project"))
    'pip install pytest-llmops'
    """
    if (project / "requirements-dev.txt").is_file():
        return INSTALL
    if (project / "requirements.txt").is_file():
        return "pip install -r requirements.txt pytest-llmops"
    if (project / "pyproject.toml").is_file():
        return "pip install -e . pytest-llmops"
    return INSTALL_PLUGIN


def find_recipe_folder() -> Path:
    """Return the folder of the installed recipes.

    >>> sorted(path.name for path in find_recipe_folder().iterdir())[0]
    'Jenkinsfile'
    """
    return Path(__file__).with_name("starter") / "ci"
