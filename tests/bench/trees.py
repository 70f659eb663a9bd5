"""Synthetic directory trees, made once below build/bench and used again."""
import shutil
import subprocess
from pathlib import Path

FANOUT = 100


def plain_tree(root: Path, directories: int, files: int) -> Path:
    """`files` small files in `directories` directories, two levels deep."""
    done = root.with_suffix(".made")
    wanted = f"{directories} {files}"
    if done.exists() and done.read_text() == wanted and root.exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    each = files // directories
    for number in range(directories):
        folder = root / f"d{number // FANOUT}" / f"e{number % FANOUT}"
        folder.mkdir(parents=True)
        for file in range(each):
            (folder / f"f{file}.txt").write_text(f"{number} {file}\n")
    done.write_text(wanted)
    return root


def git(repository: Path, *words: str) -> str:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *words], cwd=repository, check=True, capture_output=True, text=True)
    return done.stdout


def two_commits(root: Path, files: int) -> Path:
    """A repository with branches `a` and `b`: of ten files of `a`, four differ in `b`, two are gone, one has moved;
    two new ones stand in directories of their own."""
    done = root.with_suffix(".made")
    if done.exists() and done.read_text() == str(files) and (root / ".git").exists():
        git(root, "checkout", "-q", "-f", "a")
        git(root, "clean", "-fdq")
        return root
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    git(root, "init", "-q", "-b", "a")
    paths = [root / f"src{number // 1000}" / f"m{number // 20 % 50}" / f"f{number}.txt" for number in range(files)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"first {path.name}\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "a")
    git(root, "checkout", "-q", "-b", "b")
    for number, path in enumerate(paths):
        change = number % 10
        if change < 4:
            path.write_text(f"second and longer {path.name}\n")
        elif change < 6:
            path.unlink()
        elif change == 6:
            path.rename(path.with_name(f"moved_{path.name}"))
        elif change < 9:
            new = root / f"new{number // 500}" / f"deep{number % 7}" / f"g{number}.txt"
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(f"new {number}\n")
    # A whole directory goes as well.
    shutil.rmtree(root / "src0" / "m1")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "b")
    git(root, "checkout", "-q", "a")
    done.write_text(str(files))
    return root
