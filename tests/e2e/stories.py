"""Seventy or so stories of one instance: what happened, and what was mailed.

``story.py`` says how they read, ``world.py`` what can happen.  They were told by commit
0bca2c4 first, and each later commit is held to them; ``make stories REV=0bca2c4`` has
that one tell them again.
"""

from __future__ import annotations

import base64

from tests.e2e.story import MONDAY, Story

WEB = "[tcp web]\nhost = 127.0.0.1\nport = {tcp:web}\n"
#: Six ports of one machine.
SIX = "".join(
    f"[tcp {name}]\nhost = 127.0.0.1\nport = {{tcp:{name}}}\n" for name in "abcdef"
)


def notify(how: str, failures: int = 1) -> str:
    """Return the hooks for how often and from which failure on people are told."""
    return (
        "def notifyOnFailureEvery(self):\n"
        f"    return JobFailureNotificationFrequency.{how}\n"
        "def numberFailuresBeforeNotification(self):\n"
        f"    return {failures}\n"
    )


def older_state(name: str, rest: str) -> str:
    """Return a line of the older program's state file."""
    return f"{base64.b64encode(name.encode()).decode()}|{rest}\n"


LONG_AGO = f"{MONDAY.timestamp() - 86400:.0f}"

STORIES = [
    # What is checked.
    Story(
        "a port closes and opens again",
        settings=WEB,
        minutes="""
            10:01 | web: open   |
            10:02 | web: closed | alert: tcp web
            10:03 |             |
            10:04 | web: open   | recovery: tcp web ^10:02
            10:05 |             |
        """,
    ),
    Story(
        "a web site answers 503 for a while, and then without the words",
        settings="[http shop]\nurl = http://127.0.0.1:{http:shop}/\n"
        "expect_text = 200\nnotify = 5min\n",
        minutes="""
            10:01 | shop: 200 Welcome |
            10:02 | shop: 503 Away    | alert: http shop
            10:07 |                   | reminder: http shop ^10:02
            10:08 | shop: 200 Welcome |
            10:09 | shop: True        | alert: http shop
        """,
    ),
    Story(
        "a certificate comes near its end and is renewed",
        settings="[tls shop]\nhost = 127.0.0.1\nport = {tls:shop}\n"
        "cafile = {cafile}\n",
        mended="it was first told of 14 days before the end",
        minutes="""
            Mon 00:00 | shop: 22.5 days | note: imapserver
            Mon 10:01 |                 |
            Tue 00:00 |                 |
            Wed 00:00 |                 | alert: tls shop
            Thu 00:00 | shop: 90 days   | recovery: tls shop ^Wed 00:00
        """,
    ),
    Story(
        "a disk is looked at each hour",
        settings="[disk root]\npath = /\nlimit = 100\n",
        texts={"low": "[disk root]\npath = /\nlimit = 1\n"},
        minutes="""
            09:00 |               | note: imapserver
            09:01 | settings: low |
            10:00 |               | alert: disk root
            10:59 | settings:     |
            11:00 |               | recovery: disk root ^10:00
        """,
    ),
    # How often people are told.
    Story(
        "told each time, SFFS",
        jobs={"Flag": notify("EVERYTIME")},
        minutes="""
            10:01 | Flag: ok          |
            10:02 | Flag: failed down | alert: Flag
            10:03 |                   | reminder: Flag ^10:02
            10:04 | Flag: ok          |
        """,
    ),
    Story(
        "told on change, after two, FFFS",
        jobs={"Flag": notify("ONSTATECHANGE", 2)},
        minutes="""
            10:01 | Flag: failed down |
            10:02 |                   | alert: Flag
            10:03 |                   |
            10:04 | Flag: ok          | recovery: Flag ^10:02
        """,
    ),
    Story(
        "told every five minutes",
        jobs={"Flag": notify("EVERYFIVEMINUTES")},
        minutes="""
            10:01 | Flag: failed down | alert: Flag
            10:02 |                   |
            10:05 |                   |
            10:06 |                   | reminder: Flag ^10:01
            10:10 |                   |
            10:11 |                   | reminder: Flag ^10:01
            10:12 | Flag: ok          |
        """,
    ),
    Story(
        "told every ten minutes, after five failures",
        jobs={"Flag": notify("EVERYTENMINUTES", 5)},
        minutes="""
            10:01 | Flag: failed down |
            10:02 |                   |
            10:03 |                   |
            10:04 |                   |
            10:05 |                   | alert: Flag
            10:14 |                   |
            10:15 |                   | reminder: Flag ^10:05
            10:16 | Flag: ok          |
        """,
    ),
    Story(
        "told every hour",
        settings=WEB + "notify = hour\n",
        minutes="""
            10:01 | web: closed | alert: tcp web
            10:59 |             |
            11:01 |             | reminder: tcp web ^10:01
            12:01 |             | reminder: tcp web ^10:01
            12:02 | web: open   |
        """,
    ),
    Story(
        "told every day",
        settings=WEB + "notify = day\n",
        minutes="""
            Mon 10:01 | web: closed              | alert: tcp web
            Mon 22:01 |                          |
            Tue 09:50 |                          |
            Tue 10:01 |                          | reminder: tcp web ^Mon 10:01
            Wed 10:00 | web: open; order: minute |
        """,
    ),
    Story(
        "one failure of two is nobody's business",
        jobs={"Flag": notify("ONSTATECHANGE", 2)},
        minutes="""
            10:01 | Flag: failed down |
            10:02 | Flag: ok          |
            10:03 | Flag: failed down |
            10:04 | Flag: ok          |
        """,
    ),
    Story(
        "what [defaults] say holds for a class of one's own",
        settings="[defaults]\nnotify = every\nfailures = 2\n"
        "contact = boss@example.com\n",
        jobs={"Flag": ""},
        minutes="""
            10:01 | Flag: failed down |
            10:02 |                   | alert: Flag > boss@example.com
            10:03 |                   | reminder: Flag > boss@example.com ^10:02
            10:04 | Flag: ok          |
        """,
    ),
    Story(
        "without threading each mail begins a conversation",
        email="bustgmailthreading = yes\n",
        settings=WEB,
        minutes="""
            10:01 | web: closed | alert: tcp web
            10:02 | web: open   | recovery: tcp web
        """,
    ),
    # Whom.
    Story(
        "each job has its people",
        settings=WEB + "contact = web@example.com, ops@example.com\n",
        jobs={"Flag": "def contact(self):\n    return 'boss@example.com'\n"},
        minutes="""
            10:01 | Flag: failed down; web: closed | alert: Flag > boss@example.com
                  |                                | alert: tcp web > ops@example.com, web@example.com
            10:02 | Flag: ok; web: open            | recovery: Flag > boss@example.com ^10:01
                  |                                | recovery: tcp web > ops@example.com, web@example.com ^10:01
        """,
    ),
    Story(
        "hooks say it in their own words",
        jobs={
            "Flag": "def onFailure(self):\n"
            "    return self.sendEmail('Own: down', 'see the wiki')\n"
            "def onStateChangeSuccess(self):\n"
            "    return self.sendEmail('Own: up', 'all is well')\n"
        },
        minutes="""
            10:01 | Flag: failed down | own: down
            10:02 |                   |
            10:03 | Flag: ok          | own: up ^10:01
        """,
    ),
    Story(
        "a hook that says nothing, and one that breaks, leave it to the default mail",
        jobs={
            "Silent": "def onFailure(self):\n    pass\n"
            "def onStateChangeSuccess(self):\n    pass\n",
            "Broken": "def onFailure(self):\n    raise OSError('no wiki')\n",
        },
        minutes="""
            10:01 | Silent: failed down | alert: Silent
            10:02 | Silent: ok          | recovery: Silent ^10:01
            10:03 | Broken: failed down | alert: Broken
            10:04 | Broken: ok          | recovery: Broken ^10:03
        """,
    ),
    Story(
        "a hook that says it was done elsewhere is believed",
        jobs={"Flag": "def onFailure(self):\n    return True\n"},
        minutes="""
            10:01 | Flag: failed down |
            10:02 |                   |
            10:03 | Flag: ok          | recovery: Flag
        """,
    ),
    Story(
        "a check mails others while all is well",
        jobs={
            "Flag": "def execute(self):\n"
            "    self.sendEmail('Own: report', 'so it is', 'boss@example.com')\n"
            "    return super().execute()\n"
        },
        minutes="""
            10:01 | Flag: ok          | own: report > boss@example.com
            10:02 | Flag: failed down | alert: Flag
                  |                   | own: report > boss@example.com
        """,
    ),
    # Job files.
    Story(
        "a spawner's jobs are jobs of their own",
        jobs={
            "Many": "class One(Told):\n"
            "    def __init__(self, config, name):\n"
            "        super().__init__(config, name)\n"
            "        self.name = name\n"
            "    def getName(self):\n"
            "        return f'One {self.name}'\n\n\n"
            "class Many(JobSpawner):\n"
            "    def get_sub_jobs(self, config):\n"
            "        for name in config['Many']['names'].split():\n"
            "            yield One(config, name)\n"
        },
        settings="[Many]\nnames = a b c\n",
        spawned=("One a", "One b", "One c"),
        texts={"fewer": "[Many]\nnames = a c\n"},
        mended="nobody was told that the job is gone",
        minutes="""
            10:01 |                            |
            10:02 | One b: failed down         | alert: One b
            10:03 | One c: no                  | alert: One c
            10:04 | settings: fewer; One c: ok | recovery: One c ^10:03
            10:05 |                            | closing: One b ^10:02
        """,
    ),
    Story(
        "a job file breaks and is mended",
        jobs={"Flag": "", "Calm": ""},
        texts={"broken": "class Flag(Told) has no colon\n"},
        minutes="""
            10:01 |                                      |
            10:02 | file Flag: broken                    | alert: Flag
            10:03 | Calm: failed down                    | alert: Calm
            10:04 | file Flag: mended                    | recovery: Flag ^10:02
            10:05 | Flag: failed down                    | alert: Flag
            10:06 | Flag: ok; Calm: ok                   | recovery: Calm ^10:03
                  |                                      | recovery: Flag ^10:05
        """,
    ),
    Story(
        "a job raises, one ends its process, one beside them is calm",
        jobs={"Raises": "", "Leaves": "", "Calm": ""},
        minutes="""
            10:01 | Raises: raise a bug      | alert: Raises
            10:02 | Raises: ok; Leaves: exit | alert: Leaves
                  |                          | recovery: Raises ^10:01
            10:03 |                          |
            10:04 | Leaves: ok               | recovery: Leaves ^10:02
        """,
    ),
    Story(
        "a job hangs until its time is over",
        jobs={"Hangs": "def timeout(self):\n    return 0.3\n", "Calm": ""},
        minutes="""
            10:01 | Hangs: hang; Calm: failed down | alert: Calm
                  |                                | alert: Hangs
            10:02 | Hangs: ok                      | recovery: Hangs ^10:01
        """,
    ),
    Story(
        "unknown is told as a failure is",
        jobs={"Flag": ""},
        minutes="""
            10:01 | Flag: unknown no route | alert: Flag
            10:02 | Flag: failed down      | reminder: Flag ^10:01
            10:03 | Flag: unknown no route |
            10:04 | Flag: ok               | recovery: Flag ^10:01
        """,
    ),
    Story(
        "an answer that is under way is asked for each minute",
        jobs={"Flag": "def executeEvery(self):\n    return JobFrequency.DAY_NOON\n"},
        minutes="""
            12:00     | Flag: pending soon | note: imapserver
            12:01     |                    |
            12:02     | Flag: failed down  | alert: Flag
            12:03     | Flag: ok           |
            Tue 12:00 |                    | recovery: Flag ^12:02
        """,
    ),
    Story(
        "a job that is gone for a minute only is the same job",
        jobs={"Flag": "", "Calm": ""},
        minutes="""
            10:01 | Flag: failed down | alert: Flag
            10:02 | file Flag: gone   |
            10:03 | file Flag: back   |
            10:05 | Flag: ok          | recovery: Flag ^10:01
        """,
    ),
    Story(
        "a failing job whose file is deleted is closed, not said to be fine",
        jobs={"Flag": "", "Calm": ""},
        mended="nobody was told that the job is gone",
        minutes="""
            10:01 | Flag: failed down | alert: Flag
            10:02 | file Flag: gone   |
            10:03 |                   | closing: Flag ^10:01
            10:04 |                   |
            10:05 | file Flag: back   | alert: Flag
            10:06 | Flag: ok          | recovery: Flag ^10:05
        """,
    ),
    Story(
        "a failing section is deleted, another is renamed, a third had no mail yet",
        settings=f"{WEB}[tcp db]\nhost = 127.0.0.1\nport = {{tcp:db}}\n"
        "[tcp new]\nhost = 127.0.0.1\nport = {tcp:new}\nfailures = 5\n",
        texts={
            "fewer": WEB.replace("tcp web]", "tcp shop]"),
            "none": "",
        },
        mended="nobody was told that the job is gone",
        minutes="""
            10:01 | web: closed; db: closed; new: closed | alert: tcp db
                  |                                      | alert: tcp web
            10:02 | settings: fewer                      | alert: tcp shop
            10:03 |                                      | closing: tcp db ^10:01
                  |                                      | closing: tcp web ^10:01
            10:04 | settings: none                       |
            10:05 |                                      | closing: tcp shop ^10:02
        """,
    ),
    Story(
        "a job that had a reminder each five minutes is closed as well",
        jobs={"Flag": notify("EVERYFIVEMINUTES"), "Calm": ""},
        mended="nobody was told that the job is gone",
        minutes="""
            10:01 | Flag: failed down | alert: Flag
            10:06 | file Flag: gone   |
            10:07 |                   | closing: Flag ^10:01
            10:12 |                   |
        """,
    ),
    Story(
        "while mail is down, an alert and the end of its job are one mail",
        jobs={"Flag": "", "Calm": ""},
        mended="nobody was told that the job is gone",
        minutes="""
            10:01 | mail: closed; Flag: failed down |
            10:02 | file Flag: gone                 |
            10:03 |                                 |
            10:09 | mail: takes                     | closing: Flag
        """,
    ),
    Story(
        "a broken job file is deleted",
        jobs={"Flag": "", "Calm": ""},
        texts={"broken": "class Flag(Told) has no colon\n"},
        mended="the file was OK again when it was gone",
        minutes="""
            10:01 | file Flag: broken | alert: Flag
            10:02 | file Flag: gone   |
            10:03 |                   | closing: Flag ^10:01
        """,
    ),
    Story(
        "a section of an unknown kind is deleted, another is put right",
        settings=WEB,
        texts={
            "odd": "[tpc a]\nhost = 127.0.0.1\n[tpc b]\nhost = 127.0.0.1\n",
            "right": "[tcp a]\nhost = 127.0.0.1\nport = {tcp:web}\n",
        },
        spawned=("tpc a", "tpc b"),
        mended="the section was OK again when it was gone",
        minutes="""
            10:01 | web: open       |
            10:02 | settings: odd   | alert: tpc a
                  |                 | alert: tpc b
            10:03 | settings: right |
            10:04 |                 | closing: tpc a ^10:02
                  |                 | closing: tpc b ^10:02
        """,
    ),
    Story(
        "a job file loses its class, and is no helper for it",
        jobs={"Flag": "", "Calm": ""},
        texts={"helper": "class Helper:\n    pass\n"},
        mended="the jobs of the file were gone, and nobody was told",
        minutes="""
            10:01 |                   |
            10:02 | file Flag: helper | alert: Flag
            10:03 |                   |
            10:04 |                   |
            10:05 | file Flag: back   | recovery: Flag ^10:02
        """,
    ),
    Story(
        "a file that never had a job may be a helper",
        jobs={"Calm": ""},
        texts={"helper": "class Helper:\n    pass\n"},
        spawned=("Flag",),
        minutes="""
            10:01 | file Flag: helper |
            10:02 |                   |
            10:03 | Calm: failed down | alert: Calm
        """,
    ),
    Story(
        "a file whose worker dies says nothing of the jobs in it",
        jobs={"Flag": "", "Calm": ""},
        texts={"deadly": "import os\nos._exit(3)\n"},
        minutes="""
            10:01 | Flag: failed down | alert: Flag
            10:02 | file Flag: deadly | alert: Flag
            10:03 |                   |
            10:04 |                   |
            10:05 | file Flag: back   | recovery: Flag ^10:02
            10:06 | Flag: ok          | recovery: Flag ^10:01
        """,
    ),
    Story(
        "a hosts_file without a host is a failing job, and its hosts are not closed",
        settings="[tcp web]\nhosts_file = {path:hosts}\n"
        "host = {host}\nport = {tcp:web}\n",
        spawned=("tcp web/127.0.0.1",),
        mended="there was no hosts_file",
        minutes="""
            10:01 | hosts: 127.0.0.1; web: closed | alert: tcp web/127.0.0.1
            10:02 | hosts: # none                 | alert: tcp web
            10:03 |                               |
            10:04 |                               |
            10:05 | hosts: 127.0.0.1; web: open   | recovery: tcp web ^10:02
                  |                               | recovery: tcp web/127.0.0.1 ^10:01
        """,
    ),
    Story(
        "an included file is missing, and its failing jobs are not closed",
        general="include = {path:more}",
        texts={"web": WEB, "other": "[tcp other]\nhost = 127.0.0.1\nport = 1\n"},
        settings="",
        spawned=("[general]",),
        mended="no run took place while it was missing",
        minutes="""
            10:01 | more: web; web: closed | alert: tcp web
            10:02 | more: gone             | alert: [general]
            10:03 |                        |
            10:04 |                        |
            10:05 | more: web; web: open   | recovery: [general] ^10:02
                  |                        | recovery: tcp web ^10:01
        """,
    ),
    Story(
        "a file with a failing job breaks: the job is not closed",
        jobs={"Flag": "", "Calm": ""},
        texts={"broken": "class Flag(Told) has no colon\n"},
        minutes="""
            10:01 | Flag: failed down | alert: Flag
            10:02 | file Flag: broken | alert: Flag
            10:03 |                   |
            10:04 |                   |
            10:05 | file Flag: back   | recovery: Flag ^10:02
            10:06 | Flag: ok          | recovery: Flag ^10:01
        """,
    ),
    Story(
        "the first file in a folder of job files",
        texts={"new": "def timeout(self):\n    return 5\n"},
        spawned=("First",),
        mended="a run of the fast path did not look into a folder that had no job",
        minutes="""
            10:01 |                                       |
            10:02 |                                       |
            10:03 | file First: new; First: failed down   | alert: First
        """,
    ),
    Story(
        "a section that is wrong is a failing job of its name",
        settings=WEB,
        texts={"wrong": WEB + "port = many\n".replace("port", "prot")},
        minutes="""
            10:01 |                 |
            10:02 | settings: wrong | alert: tcp web
            10:03 |                 |
            10:04 | settings:       | recovery: tcp web ^10:02
        """,
    ),
    Story(
        "with settings that cannot be used, runs go on with the last usable ones",
        settings=WEB,
        texts={"wrong": "[email]\nsmtpport = many\n" + WEB},
        spawned=("settings.cfg",),
        mended="settings that could not be used stopped each run",
        minutes="""
            10:01 | web: closed                | alert: tcp web
            10:02 | settings: wrong; web: open | alert: settings.cfg
                  |                            | recovery: tcp web ^10:01
            10:03 | web: closed                | alert: tcp web
            11:01 |                            |
            11:02 |                            | reminder: settings.cfg ^10:02
            11:03 | settings: ; web: open      | recovery: settings.cfg ^10:02
                  |                            | recovery: tcp web ^10:03
            11:04 |                            |
        """,
    ),
    Story(
        "settings that are broken and mended each minute are one alert an hour",
        settings=WEB,
        texts={"wrong": "[email]\nsmtpport = many\n" + WEB},
        spawned=("settings.cfg",),
        mended="settings that could not be used stopped each run",
        minutes="""
            10:01 | web: open       |
            10:02 | settings: wrong | alert: settings.cfg
            10:03 | settings:       | recovery: settings.cfg ^10:02
            10:04 | settings: wrong |
            10:05 | settings:       |
            10:30 | settings: wrong |
            10:31 | settings:       |
            11:01 | settings: wrong |
            11:02 |                 | alert: settings.cfg
            11:03 | settings:       | recovery: settings.cfg ^11:02
        """,
    ),
    Story(
        "settings that fail again within the hour are no second alert",
        settings=WEB,
        texts={"wrong": "[email]\nsmtpport = many\n" + WEB},
        spawned=("settings.cfg",),
        mended="settings that could not be used stopped each run",
        minutes="""
            10:01 | web: open       |
            10:02 | settings: wrong | alert: settings.cfg
            10:03 | settings:       | recovery: settings.cfg ^10:02
            10:04 |                 |
            10:08 | settings: wrong |
            10:09 | settings:       |
            10:10 | settings: wrong |
            11:02 |                 | alert: settings.cfg
        """,
    ),
    Story(
        "no job is closed while earlier settings are in use",
        settings=WEB,
        texts={"none": "", "wrong": "[email]\nsmtpport = many\n"},
        spawned=("settings.cfg",),
        mended="settings that could not be used stopped each run",
        minutes="""
            10:01 | web: closed          | alert: tcp web
            10:02 | settings: none       |
            10:03 | settings: wrong      | alert: settings.cfg
            10:04 |                      |
            10:05 | settings: ; web: open | recovery: settings.cfg ^10:03
                  |                       | recovery: tcp web ^10:01
        """,
    ),
    Story(
        "an hour that was missed is caught up once",
        jobs={"Flag": "def executeEvery(self):\n    return JobFrequency.HOUR\n"},
        minutes="""
            09:00 |                   | note: imapserver
            09:30 | Flag: failed down |
            10:20 |                   | alert: Flag
            10:21 | Flag: ok          |
            11:00 |                   | recovery: Flag ^10:20
        """,
    ),
    Story(
        "jobs of the hour and the day, by the lines of the crontab",
        jobs={
            "Hourly": "def executeEvery(self):\n    return JobFrequency.HOUR\n",
            "Nightly": "def executeEvery(self):\n    return JobFrequency.DAY\n",
            "Noon": "def executeEvery(self):\n    return JobFrequency.DAY_NOON\n",
        },
        settings="[defaults]\nnotify = every\n",
        minutes="""
            Mon 00:00 |                                                     | note: imapserver
            Mon 00:01 | Hourly: failed h; Nightly: failed d; Noon: failed n |
            Mon 01:00 |                                                     | alert: Hourly
            Mon 12:00 |                                                     | reminder: Hourly ^Mon 01:00
                      |                                                     | alert: Noon
            Tue 00:00 |                                                     | reminder: Hourly ^Mon 01:00
                      |                                                     | alert: Nightly
        """,
    ),
    # The older program.
    Story(
        "the older program's state: no alert again, and the end is told",
        jobs={"Flag": "def formerly(self):\n    return 'Flag'\n", "Calm": ""},
        general="statefile = {path:older}\n",
        texts={"lines": older_state("Flag", f"Failing|{LONG_AGO}|{LONG_AGO}|Flag|9")},
        minutes="""
            10:01 | older: lines; Flag: failed down; Calm: failed down | alert: Calm
            10:02 | Flag: ok                                           | recovery: Flag
        """,
    ),
    Story(
        "a job file of the older program",
        jobs={
            "Old": "from . import JobBase\n\n\n"
            "class Old(JobBase.JobBase):\n"
            "    def executeEvery(self):\n"
            "        return JobBase.JobFrequency.MINUTE\n"
            "    def execute(self):\n"
            "        with open(self.config.get('old', 'file')) as file:\n"
            "            return file.read().strip() == '1' and 'yes'\n"
            "    def onFailure(self):\n"
            "        JobBase.sendEmail(self.config, 'Own: old', 'x', 'boss@example.com')\n"
        },
        settings="[old]\nfile = {path:value}\n",
        minutes="""
            10:01 | value: 1 |
            10:02 | value: 0 | own: old > boss@example.com
            10:03 |          |
            10:04 | value: 1 | recovery: Old > boss@example.com ^10:02
        """,
    ),
    # The mail server.
    Story(
        "one alert when mail is back, none lost, none twice",
        jobs={"Flag": ""},
        minutes="""
            10:01 | mail: closed; Flag: failed down |
            10:02 |                                 |
            10:06 | mail: takes                     | alert: Flag
            10:40 |                                 |
            10:41 | Flag: ok                        | recovery: Flag ^10:06
        """,
    ),
    Story(
        "what began and ended without mail is one mail",
        jobs={"Flag": ""},
        minutes="""
            10:01 | mail: closed; Flag: failed down |
            10:03 | Flag: ok                        |
            10:40 | mail: takes                     | recovery: Flag
            10:41 |                                 |
        """,
    ),
    Story(
        "a server that wants to be asked again later",
        jobs={"Flag": "", "Other": ""},
        minutes="""
            10:01 | mail: 451 4.7.1 greylisted; Flag: failed down |
            10:03 | Other: failed down                            |
            10:09 | mail: takes                                   | alert: Flag
                  |                                               | alert: Other
            10:50 |                                               |
            10:51 |                                               |
        """,
    ),
    Story(
        "one address is refused for good, the other gets the mail",
        settings=WEB + "contact = gone@example.com, boss@example.com\n",
        minutes="""
            10:01 | mail: 550 gone@example.com; web: closed | note: gone@example.com > boss@example.com
                  |                                         | alert: tcp web > boss@example.com
            10:02 | web: open                               | recovery: tcp web > boss@example.com ^10:01
            10:03 | web: closed                             | alert: tcp web > boss@example.com
        """,
    ),
    Story(
        "a login is refused until the password is right again",
        secure=True,
        settings=WEB,
        minutes="""
            10:01 | web: closed                    | alert: tcp web
            10:02 | mail: login refused; web: open |
            10:05 | mail: takes                    | recovery: tcp web ^10:01
            10:30 |                                |
            10:31 |                                |
        """,
    ),
    Story(
        "the second account takes over",
        settings=WEB + "[email backup]\nsmtpserver = 127.0.0.1\n"
        "smtpport = {mail:second}\nsmtpsecurity = none\n",
        minutes="""
            10:01 | web: closed              | alert: tcp web
            10:02 | mail: closed; web: open  | recovery: tcp web ^10:01 (2)
            10:03 |                          |
            10:04 | mail: takes; web: closed | alert: tcp web
            10:10 |                          |
        """,
    ),
    # Many mails.
    Story(
        "many at once are one mail",
        settings=SIX,
        minutes="""
            10:01 |                                                                  |
            10:02 | a: closed; b: closed; c: closed; d: closed; e: closed; f: closed | bundle: tcp a, tcp b, tcp c, tcp d, tcp e, tcp f
            10:03 |                                                                  |
            10:04 | a: open                                                          |
            10:08 |                                                                  | recovery: tcp a ^nothing
        """,
    ),
    Story(
        "reminders beyond mailsperhour are held back",
        email="mailsperhour = 5\n",
        jobs={"Flag": notify("EVERYTIME")},
        minutes="""
            10:01 | Flag: failed down | alert: Flag
            10:02 |                   | reminder: Flag ^10:01
            10:03 |                   | reminder: Flag ^10:01
            10:04 |                   | reminder: Flag ^10:01
            10:05 |                   | note: mailsperhour
            10:06 |                   |
            11:10 |                   | reminder: Flag ^10:01
            11:11 | Flag: ok          |
            11:20 |                   |
        """,
    ),
    Story(
        "one that flaps, and the first failures of others",
        email="mailsperhour = 5\n",
        jobs={"Flaps": "", "Quiet": "", "Calm": ""},
        mended="the alerts of Quiet and Calm waited until there was room again",
        minutes="""
            10:01 | Flaps: failed down | alert: Flaps
            10:02 | Flaps: ok          | recovery: Flaps ^10:01
            10:03 | Flaps: failed down | alert: Flaps
            10:04 | Flaps: ok          | recovery: Flaps ^10:03
            10:05 | Flaps: failed down | note: mailsperhour
            10:06 | Flaps: ok          |
            10:07 | Quiet: failed down | alert: Quiet
            10:08 | Flaps: failed down |
            10:09 | Calm: failed down  |
            10:10 | Flaps: ok          |
            10:11 |                    |
            10:12 |                    | alert: Calm
        """,
    ),
    Story(
        "one that flaps, until it is steady for ten checks",
        settings=WEB,
        mended="each change was mailed about",
        minutes="""
            10:01 | web: closed | alert: tcp web
            10:02 | web: open   | recovery: tcp web ^10:01
            10:03 | web: closed | alert: tcp web
            10:04 | web: open   | recovery: tcp web ^10:03
            10:05 | web: closed | alert: tcp web
            10:06 | web: open   | reminder: tcp web ^10:05
            10:07 | web: closed |
            10:08 | web: open   |
            10:09 |             |
            10:10 |             |
            10:11 |             |
            10:12 |             |
            10:13 |             |
            10:14 |             |
            10:15 |             |
            10:16 |             |
            10:17 |             |
            10:18 |             | recovery: tcp web ^10:05
            10:19 | web: closed | alert: tcp web
        """,
    ),
    Story(
        "one that flaps reminds, and says so when it is steady and failing",
        settings=WEB + "flapping = 3/20\nnotify = 5min\n",
        mended="there was no flapping",
        minutes="""
            10:01 | web: closed | alert: tcp web
            10:02 | web: open   |
            10:03 | web: closed | alert: tcp web
            10:04 | web: open   |
            10:05 | web: closed |
            10:08 |             | reminder: tcp web ^10:03
            11:05 |             | reminder: tcp web ^10:03
        """,
    ),
    Story(
        "one that begins to flap while muted",
        settings=WEB,
        mended="there was no -m mute",
        minutes="""
            10:01 | web: open              |
            10:02 | type: mute 'tcp web' --for 9min |
            10:03 | web: closed            |
            10:04 | web: open              |
            10:05 | web: closed            |
            10:06 | web: open              |
            10:07 | web: closed            |
            10:09 | web: open              |
            10:11 | web: closed            | alert: tcp web
            10:12 | web: open              |
        """,
    ),
    Story(
        "one that is muted while it flaps, and unmuted",
        settings=WEB + "flapping = 3/20\n",
        mended="there was no -m mute",
        minutes="""
            10:01 | web: closed            | alert: tcp web
            10:02 | web: open              | recovery: tcp web ^10:01
            10:03 | web: closed            | alert: tcp web
            10:04 | type: mute 'tcp web' --for 1h; web: open |
            10:05 | web: closed            |
            10:06 | type: unmute 'tcp web' | reminder: tcp web ^10:03
            10:07 | web: open              |
            10:08 | web: closed            |
        """,
    ),
    Story(
        "one that is checked each hour, and again until it is OK",
        settings="[tcp web]\nhost = 127.0.0.1\nport = {tcp:web}\nevery = hour\n"
        "recheck = 5min\nfailures = 2\n",
        mended="nothing was checked again before its hour",
        minutes="""
            10:00 | web: open   | note: imapserver
            11:00 | web: closed |
            11:02 |             |
            11:03 |             | alert: tcp web
            11:07 | web: open   |
            11:08 |             | recovery: tcp web ^11:03
            11:10 | web: closed |
            11:13 |             |
            12:00 |             |
            12:02 |             |
            12:03 |             | alert: tcp web
        """,
    ),
    # What Checker says of itself.
    Story(
        "nobody can see whether mail arrives",
        minutes="""
            10:00 |  | note: imapserver
            11:00 |  |
        """,
    ),
    Story(
        "our own mail arrives, and then does not",
        secure=True,
        email="imapserver = 127.0.0.1\nimapport = {imap:box}\n",
        minutes="""
            10:00 | box: gets all     | proof
            10:01 |                   |
            11:00 | box: gets nothing | proof
            11:01 |                   |
            11:11 |                   | alert: EmailChecker
            12:00 | box: gets all     | proof
            12:01 |                   | recovery: EmailChecker ^11:11
        """,
    ),
    Story(
        "a record is lost while its job fails",
        jobs={"Flag": "", "Calm": ""},
        minutes="""
            10:01 | Flag: failed down; Calm: failed down | alert: Calm
                  |                                      | alert: Flag
            10:02 | state: lose Flag                     | alert: Flag
                  |                                      | note: state
            10:03 |                                      |
            10:04 | state: spoil Calm; Flag: ok          | alert: Calm
                  |                                      | recovery: Flag ^10:02
                  |                                      | note: state
            10:05 | Calm: ok                             | recovery: Calm ^10:04
        """,
    ),
    Story(
        "all state is lost",
        jobs={"Flag": ""},
        minutes="""
            10:01 | Flag: failed down | alert: Flag
            10:02 | state: lost       | alert: Flag
            10:03 | Flag: ok          | recovery: Flag ^10:02
        """,
    ),
    Story(
        "nomail: nobody is told, and nobody counts as told",
        jobs={"Flag": ""},
        minutes="""
            10:01 | flags: --nomail; Flag: failed down |
            10:02 | flags: --nomail                    |
            10:03 |                                    | alert: Flag
            10:04 | Flag: ok                           | recovery: Flag ^10:03
        """,
    ),
    Story(
        "nomail in the settings, and taken out again",
        jobs={"Flag": ""},
        texts={"nomail": "[email]\nnomail = yes\n"},
        minutes="""
            10:01 | settings: nomail; Flag: failed down |
            10:02 |                                     |
            10:03 | settings:                           | alert: Flag
            10:04 | Flag: ok                            | recovery: Flag ^10:03
        """,
    ),
    Story(
        "a summary each day, by the clock on the wall",
        settings=WEB + "[digest]\ndaily = 08:00\nweekly = tue 08:00\n",
        zone="Europe/Berlin",
        minutes="""
            Mon 07:58 | web: closed   | alert: tcp web
            Mon 07:59 |               |
            Mon 08:00 | order: minute | summary: daily 1
            Mon 08:01 |               |
            Tue 08:00 | order: minute | summary: daily 2
                      |               | summary: weekly 1
            Wed 09:30 | web: open     | summary: daily 3
                      |               | recovery: tcp web ^Mon 07:58
        """,
    ),
    # Silence.
    Story(
        "a mute ends while the job is failing, and one while it is OK",
        settings=WEB,
        minutes="""
            10:01 | web: open                              |
            10:02 | type: mute 'tcp *' --for 9min          |
            10:03 | web: closed                            |
            10:10 |                                        |
            10:12 |                                        | alert: tcp web
            10:13 | web: open                              | recovery: tcp web ^10:12
            10:14 | type: mute 'tcp web' --until 10:30     |
            10:15 | web: closed                            |
            10:29 | web: open                              |
            10:31 |                                        |
        """,
        mended="there was no -m mute",
    ),
    Story(
        "whoever was notified before gets the recovery, mute or not",
        settings=WEB + "notify = 5min\n",
        minutes="""
            10:01 | web: closed                            | alert: tcp web
            10:02 | type: mute 'tcp web' --for 1h          |
            10:07 |                                        |
            10:08 | web: open                              | recovery: tcp web ^10:01
            10:09 | web: closed                            |
            10:10 | type: unmute 'tcp web'                 | alert: tcp web
        """,
        mended="there was no -m mute",
    ),
    Story(
        "what is acknowledged has no reminders until it is over",
        settings=WEB + "notify = 5min\n",
        minutes="""
            10:01 | web: closed                            | alert: tcp web
            10:02 | type: ack 'tcp web' --why 'on it'      |
            10:07 |                                        |
            10:12 |                                        |
            10:13 | web: open                              | recovery: tcp web ^10:01
            10:14 | web: closed                            | alert: tcp web
            10:19 |                                        | reminder: tcp web ^10:14
        """,
        mended="there was no -m ack",
    ),
    Story(
        "what is acknowledged is told when it gets worse",
        jobs={"Flag": notify("EVERYTIME")},
        minutes="""
            10:01 | Flag: unknown no route                 | alert: Flag
            10:02 | type: ack Flag                         |
            10:03 |                                        |
            10:04 | Flag: failed down                      | reminder: Flag ^10:01
            10:05 |                                        | reminder: Flag ^10:01
        """,
        mended="there was no -m ack",
    ),
    Story(
        "a daily job that fails in a window is checked when it ends",
        jobs={"Backup": "def executeEvery(self):\n    return JobFrequency.DAY\n"},
        settings="[maintenance night]\njobs = Back*\nstart = 30 23 * * *\n"
        "length = 2h\n",
        minutes="""
            Mon 23:59 |                                    |
            Tue 00:00 | Backup: failed no space            | note: imapserver
            Tue 01:29 |                                    |
            Tue 01:30 |                                    | alert: Backup
            Tue 23:31 |                                    |
            Wed 00:00 | Backup: ok                         | recovery: Backup ^Tue 01:30
        """,
        mended="there were no maintenance windows",
    ),
    # Peers.
    Story(
        "a peer cannot send mail, then runs no jobs, then is fine",
        settings="[peers]\n"
        "friend = http://127.0.0.1:{http:friend}/,admin@friend.example\n",
        minutes="""
            09:01 |                     |
            10:00 | friend: True        | note: imapserver
            11:00 | friend: MailProblem | alert: peer friend > admin@friend.example
            11:01 |                     |
            12:00 | friend: JobProblem  |
            13:00 | friend: True        | recovery: peer friend > admin@friend.example ^11:00
            13:01 |                     |
        """,
    ),
    Story(
        "a peer is silent, another is not",
        settings="[peers]\ncopy = yes\n"
        "friend = http://127.0.0.1:{http:friend}/,admin@friend.example\n"
        "other = http://127.0.0.1:{http:other}/,admin@other.example\n",
        minutes="""
            10:00 |                | note: imapserver
            11:00 | friend: silent |
            11:01 |                | alert: peer friend > admin@friend.example, ops@example.com
            11:02 |                |
            12:00 | friend: True   | recovery: peer friend > admin@friend.example, ops@example.com ^11:01
        """,
    ),
    Story(
        "no peer answers, so it is our own line",
        settings="[peers]\nevery = minute\n"
        "friend = http://127.0.0.1:{http:friend}/,admin@friend.example\n"
        "other = http://127.0.0.1:{http:other}/,admin@other.example\n",
        minutes="""
            10:01 |                               |
            10:02 | friend: silent; other: silent | note
            10:03 |                               |
            10:04 |                               |
            10:05 | friend: True; other: True     |
        """,
    ),
]
