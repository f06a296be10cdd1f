"""tools/dataset_converters/: arguments, output and exit codes; tests/test_converters/ tests the files."""

from ..test_converters import conftest

ccp, lsp, lspet, table = conftest.ccp, conftest.lsp, conftest.lspet, conftest.table
TOOL = 'tools/dataset_converters/{}.py'.format


def test_bad_input(run_main, lspet, ccp, tmp_path):
    for tool in ('lsp', 'clothing_co_parsing', 'celebamask'):
        assert run_main(TOOL(tool), tmp_path / 'nothing', tmp_path / 'out')[0] == 1
        assert run_main(TOOL(tool), tmp_path / 'nothing')[0] == 2
    status, _, errors = run_main(TOOL('clothing_co_parsing'), ccp, tmp_path / 'out')
    assert status == 1  # the table has 59 classes
    assert 'clothing_co_parsing.csv' in errors
    assert 'Traceback' not in errors
    assert not (tmp_path / 'out').exists()


def test_counts(run_main, monkeypatch, lspet, lsp, ccp, table, tmp_path):
    monkeypatch.setattr('sapiens_mm.converters.lsp.TRAINING', dict(lsp=3))
    status, out, _ = run_main(TOOL('lsp'), lspet, lsp, tmp_path / 'lsp_out')
    assert status == 0
    assert out.splitlines() == [
        'lspet_train: 10 persons', 'lspet_val: 1 persons', 'lsp_train: 3 persons', 'lsp_test: 2 persons']
    status, out, _ = run_main(TOOL('clothing_co_parsing'), ccp, tmp_path / 'ccp_out', '--map', table)
    assert status == 0
    assert 'train.txt: 4' in out
    assert '0004' in out


def test_ctrl_c(run_main, lspet, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('sapiens_mm.converters.lsp.copy_image', interrupted)
    status, _, _ = run_main(TOOL('lsp'), lspet, tmp_path / 'out')
    assert status == 130
