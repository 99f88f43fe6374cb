"""Lists of classes as tools export them: read with their ids and colours, or refused; never a
header as a class.
"""

import pytest

from ctcl_hf.data.own.class_lists import read_class_list
from ctcl_hf.data.own.classes import read_class_names, read_json, read_palette

NAMES = ("ground", "traffic light", "bar")
COLOURS = {"ground": [(0, 0, 0)], "traffic light": [(255, 0, 0)], "bar": [(0, 0, 255)]}
WITH_COLOURS = {
    "class_dict.csv": "name,r,g,b\nground,0,0,0\ntraffic light,255,0,0\nbar,0,0,255\n",
    "bare.csv": "ground,0,0,0\ntraffic light,255,0,0\nbar,0,0,255\n",
    "semicolons.csv": "id;class_name;red;green;blue\n0;ground;0;0;0\n1;traffic "
    "light;255;0;0\n2;bar;0;0;255\n",
    "numbered.csv": "0,ground,0,0,0\n1,traffic light,255,0,0\n2,bar,0,0,255\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nground:0,0,0::\ntraffic "
    "light:255,0,0::\nbar:0,0,255::\n",
    "label_colors.txt": "0 0 0\tground\n255 0 0\ttraffic light\n0 0 255 bar\n",
}
WITHOUT = {
    "names.txt": "ground\r\ntraffic light\r\nbar\r\n",
    "bom.txt": "\ufeffground\ntraffic light\nbar\n",
    "_classes.csv": "Pixel Value, Class\n0, ground\n1, traffic light\n2, bar\n",
    "shuffled.csv": "Class,Index\nbar,2\nground,0\ntraffic light,1\n",
    "ids.txt": "0 ground\n1 traffic light\n2 bar\n",
    "colons.txt": "0: ground\n1: traffic light\n2: bar\n",
    "tabs.tsv": "0\tground\n1\ttraffic light\n2\tbar\n",
    "header.csv": "name\nground\ntraffic light\nbar\n",
    "bom.json": '\ufeff{"0": "ground", "1": "traffic light", "2": "bar"}',
}


@pytest.mark.parametrize("file", [*WITH_COLOURS, *WITHOUT])
def test_a_list_that_a_tool_writes_names_its_classes_and_nothing_else(tmp_path, file):
    """Headers, colours, ids and a byte-order mark became names, and every class was shifted by
    one.
    """
    path = tmp_path / file
    path.write_text((WITH_COLOURS | WITHOUT)[file], encoding="utf-8", newline="")
    assert read_class_names([str(path)], {}, "data") == NAMES


@pytest.mark.parametrize("file", WITH_COLOURS)
def test_a_list_with_colours_is_a_palette(tmp_path, file):
    path = tmp_path / file
    path.write_text(WITH_COLOURS[file])
    assert read_palette(str(path)) == COLOURS


def test_a_class_of_several_colours_has_several_lines(tmp_path):
    path = tmp_path / "grouped.csv"
    path.write_text("name,r,g,b\ncar,1,2,3\nroad,4,5,6\ncar,7,8,9\n")
    assert read_class_list(str(path), "--palette") == (
        ("car", "road"),
        {"car": [(1, 2, 3), (7, 8, 9)], "road": [(4, 5, 6)]},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no class"),
        ("ground, the\ndisc\n", "'ground, the' is more than a name"),
        ("names\nground\n", "a class, or a header"),
        ("a,b,c\n1,2,3\n", "which column of a, b, c is what"),
        ("id,name\n7,ground\n8,disc\n", r"expected ids 0\.\.1, got 7, 8.*--label_map"),
        ("0 ground\n0 disc\n", "id 0 is ground, and disc as well"),
        ("ground,0,0,300\n", r"0\.\.255, got \(0, 0, 300\)"),
        ("name,r,g,b\nground,0,x,0\n", "expected a number, got 'x'"),
    ],
)
def test_a_list_that_cannot_be_understood_says_where(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"--class_names .*list\.txt.*{message}"):
        read_class_names([str(path)], {}, "data")


@pytest.mark.parametrize("read", [read_class_list, read_json])
def test_a_list_that_is_not_there_is_told_without_the_systems_number(tmp_path, read):
    """`--palette nofile.json cannot be read: [Errno 2] No such file or directory: 'nofile.json'`"""
    path = str(tmp_path / "nofile.json")
    with pytest.raises(ValueError, match=r"nofile.json cannot be read: No such file.*y\.$"):
        read(path, "--palette")


def test_a_list_of_no_known_encoding_is_named(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("stra\xdfe\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt cannot be read: .*utf-8"):
        read_class_names([str(path)], {}, "data")
