"""The base of every exception that Monoku defines.

    MonokuError
    ├── BundleError   a bundle must not be served; a ValueError too   inference.bundle.manifest
    ├── Conflict      another version serves than the one seen        inference.bundle.versions
    ├── LogError      the decision log cannot be read or written      inference.log.database
    ├── LedgerDown    the spend ledger cannot be reached              inference.money.ledger
    ├── SpendLimit    the cap leaves no room for a call               inference.money.ledger
    ├── TeacherError  a teacher gave no answer                        inference.teachers.teacher
    ├── Busy          another process is at work                      inference.common.locks
    ├── NoRequest     a line of a log is no chat; a ValueError too    training.data.foreign
    ├── FullDisk      no space is left                                inference.common.commands
    ├── ParityError   the exported model differs from the trained one training.student.export
    └── raised and caught inside, never seen by a caller:
        ├── NoReply   Redis gave no reply                             inference.cache.link
        ├── Refused   an answer names no intent                       inference.teachers.prompt
        ├── Refusal   the service does not answer a request           inference.service.door
        ├── Gone      a client of the service has left                inference.service.door
        ├── NotAsked  no call is made, and the teacher is not blamed  inference.serving.paid
        ├── _Gone     a batch will never show what became of it       training.labelling.batches
        └── Stopped   labelling ends early                            training.labelling.streak

A wrong argument or setting raises ValueError or TypeError.
"""

from __future__ import annotations


class MonokuError(Exception):
    """Something that Monoku could not do. The message is for a person to read.

    Examples:
        >>> try:
        ...     Cascade.load("models/suport")
        ... except MonokuError as error:
        ...     print(type(error).__name__)
        BundleError
    """
