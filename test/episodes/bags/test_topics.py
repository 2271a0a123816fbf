# SPDX-License-Identifier: Apache-2.0
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.message_types import known_types
from swiftvla_ros.episodes.bags.topics import demonstration_topics, recorded_topics


def test_every_recorded_topic_s_type_can_be_written(contract: Contract) -> None:
    """Protects: a topic that is added to recordings doesn't end the recorder at its first message."""
    known = known_types().fielddefs
    topics = [*recorded_topics(contract, raw=True), *demonstration_topics(contract)]
    assert {topic.msgtype for topic in topics if topic.msgtype.startswith("swiftvla_ros/")} <= known.keys()
