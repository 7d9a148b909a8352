"""Small releases of each data set, with bad rows among the good ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.feature_repo.datasets.clips import clip_bytes


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write the files, text as UTF-8, and give the folder back."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


@pytest.fixture
def movielens(tmp_path: Path) -> Path:
    """Three films, two users, four ratings; film 3 has no poster."""
    return write(
        tmp_path / "movielens",
        {
            "items.csv": (
                "movie_id,title,genre_unknown,Comedy,FilmNoir,year,overview,original_language,runtime,"
                "vote_average,vote_count,popularity,revenue\n"
                '1,"Sun, Moon (1995)",0,1,1,1995.0,"Two lines\nof story.",en,81.0,7.9,10878.0,9.5,1000\n'
                "2,Old (1922),1,0,0,1922.0,,,0.0,,,,\n"
                "1,Again (1995),0,1,0,1995.0,,en,81.0,7.9,5.0,1,1\n"
                "8,Too short\n"
                "9,Odd year (x),0,0,0,soon,,en,81.0,7.9,5.0,1,1\n"
                "3,Film (1998),0,0,0,1998.0,,en,90,7.9,5.0,1,1\n"
            ),
            "ratings.csv": (
                b"user_id,movie_id,rating,unix_timestamp\n"
                b"10,1,5,881250949\n"
                b"10,2,3.5,881250950\n"
                b"11,77,3,881250951\n"
                b"11,1,3,later\n"
                b"11,3,1,874724710\n"
                b"\xe9,1,3,881250952\n"
                b"10,3,9,881250953\n"
                b"11,1,4,881250954\n"
            ),
            "users.csv": "user_id,age,sex,occupation,zip_code\n10,24,M,technician,01234\n11,53,F,other,T8H1N\n",
            "posters/1.jpg": b"\xff\xd8",
            "posters/2.jpg": b"\xff\xd8",
        },
    )


@pytest.fixture
def pixelrec(tmp_path: Path) -> Path:
    """Three videos, two users, four interactions; i3 has no cover."""
    return write(
        tmp_path / "pixelrec",
        {
            "item_info.csv": (
                "item_id,view_number,comment_number,thumbup_number,share_number,coin_number,favorite_number,"
                "barrage_number,title,tag,description\n"
                'i1,799668.0,739.0,8050.0,220.0,84.0,1049.0,510.0,"My friend, a turtle",Film and Editing,Brush it?\n'
                "i2,,,,,,,,,,\n"
                "i1,1,1,1,1,1,1,1,Again,Comedy,\n"
                "i8,1\n"
                "i9,-5,1,1,1,1,1,1,Negative,Comedy,\n"
                'i3,1,1,1,1,1,1,1,Last,"Comedy, Daily Life，Comedy",\n'
            ),
            "interaction.csv": (
                b"item_id,user_id,timestamp\n"
                b"i1,u10,1605059546\n"
                b"i2,u10,1605059547\n"
                b"i77,u11,1605059548\n"
                b"i1,u11,later\n"
                b"i3,u11,1605059540\n"
                b"i1,\xe9,1605059549\n"
                b"i1,u11,\n"
                b"i1,u11,1605059550000\n"
            ),
            "cover1/i1.jpg": b"\xff\xd8",
            "cover2/i2.jpg": b"\xff\xd8",
        },
    )


@pytest.fixture
def microlens(tmp_path: Path) -> Path:
    """Three videos, two users, four pairs; item 3 has no cover."""
    return write(
        tmp_path / "microlens",
        {
            "MicroLens-50k_titles.csv": 'item,title\n1,"Cats, dogs"\n2,\n1,Again\n8,too,long\n,Nameless\n3,Last\n',
            "MicroLens-50k_pairs.csv": (
                b"user,item,timestamp\n"
                b"10,1,1583378629552\n"
                b"10,2,1583378629553\n"
                b"11,77,1583378629554\n"
                b"11,1,later\n"
                b"11,3,1583378629000\n"
                b"\xe9,1,1583378629555\n"
                b"11,1,1583378\x00629556\n"
                b"11,1,1583378629557\n"
            ),
            "MicroLens-50k_likes_and_views.txt": "1\t5\t500\n2\t6\t600\n",
            "MicroLens-50k_covers/1.jpg": b"\xff\xd8",
            "MicroLens-50k_covers/2.jpg": b"\xff\xd8",
        },
    )


@pytest.fixture
def video_folder(tmp_path: Path) -> Path:
    """Three clips, one of them broken, and one that has the id of another; 3 has no picture."""
    infos = {
        "1": {"id": "1", "title": "Sun, Moon", "upload_date": "20231114", "view_count": 500, "like_count": 5},
        "2": {"id": "2", "title": "Old", "timestamp": 1700000000, "language": "en", "duration": 12},
        "again": {"id": "1", "title": "Again"},
        "deep/3": {"id": "3", "title": "Film", "timestamp": 1700000000, "view_count": "many", "like_count": 7},
    }
    return write(
        tmp_path / "video_folder",
        {
            **{f"{name}.info.json": json.dumps(info) for name, info in infos.items()},
            **dict.fromkeys(("1.mp4", "again.mp4", "deep/3.mp4"), clip_bytes()),
            "2.webm": b"no clip",
            "4.mp4.part": b"",
            "1.en.vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n",
            "1.jpg": b"\xff\xd8",
            "2.jpg": b"\xff\xd8",
        },
    )
