import pytest

from histoquilt.train import Split, read_splits


@pytest.fixture
def file(tmp_path):
    def write(text):
        (tmp_path / "splits.csv").write_bytes(text.encode())
        return tmp_path / "splits.csv"

    return write


def test_folds_in_the_order_of_the_table(file):
    text = (
        "\ufeffside, section ,fold,note\r\ntest,s2,b,x\r\ntrain, s1 ,b,\r\ntrain,s3,b,\r\ntest,s1,a,\r\ntrain,s2,a,\r\n"
    )
    expected = [Split("b", ["s1", "s3"], ["s2"], False), Split("a", ["s2"], ["s1"], False)]
    assert read_splits(file(text.replace(" section ", "section"))) == expected
    assert all(split.optimistic for split in read_splits(file(text.replace(" section ", "section")), optimistic=True))


def test_tables_of_spreadsheets(file):
    expected = [Split("1", ["NA", "s,2"], ["s3"], False)]
    rows = '1,NA,train{0}\n1, "s,2", train {0}\n\n1,s3,test{0}\n,,{0}\n'
    for end in ("", ",", ",,"):
        assert read_splits(file("fold , section , side \n" + rows.format(end))) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fold,section,side,side\n1,a,train,test\n", "names a column twice"),
        ("fold,section,side\n1,a,train,b\n", "line 2: expected a fold, a section, and train or test, got .*'b'"),
        ("fold,section,side\n\n1,a,train\n\n1,b,tset\n", "line 5"),
        ('fold,section,side\n1,"a,train\n', "could not be read as a table"),
        ("fold;section;side\n1;a;train\n", "missing: 'fold', 'section', 'side'"),
        ("fold,section\n1,a\n", r"expected the columns .* missing: 'side' \(found: 'fold', 'section'\)"),
        ("fold,section,side\n", "missing: rows"),
        (
            "fold,section,side\n1,a,train\n1,b,valid\n",
            r"line 3: expected a fold, a section, and train or test, got .*'val",
        ),
        ("fold,section,side\n,a,train\n", "line 2"),
        ("fold,section,side\n1,a,train\n1,a,test\n", "fold '1' names the section 'a' twice"),
        ("", "could not be read as a table"),
    ],
)
def test_a_table_that_cannot_be_right(file, text, told):
    with pytest.raises(ValueError, match=told):
        read_splits(file(text))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of splits"):
        read_splits(tmp_path / "none.csv")
