"""Where JAX keeps compiled functions, as `bart-tf doctor` shows it."""

from tf_models.backend import compilation_cache


def test_folder_and_size_are_described(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "bart-tf" / "jax"
    assert compilation_cache.describe().startswith(f"{folder}, empty")
    folder.mkdir(parents=True)
    (folder / "step").write_bytes(b"0" * 2**20)
    assert compilation_cache.describe() == f"{folder}, 1 file, 1 MiB"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
    assert compilation_cache.describe().startswith(str(tmp_path / "own"))
