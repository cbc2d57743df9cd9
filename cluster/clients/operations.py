"""Every operation of the machines that come with this project, under one import: see `cluster/clients/operation.py`.

```python
from cluster.clients import operations

client.do(operations.kv_put("owner", "alice"))
```
"""

from cluster.clients.configuration_operations import (
    configuration_add,
    configuration_hand_over,
    configuration_list,
    configuration_remove,
)
from cluster.clients.group_operations import (
    ASSIGNMENT,
    MEMBERS,
    Share,
    TaskOwner,
    TaskOwners,
    View,
    task_add,
    task_mine,
    task_owners,
    task_remove,
)
from cluster.clients.kv_operations import (
    KeyChange,
    KeyChanges,
    KeyEntry,
    KeyPage,
    VersionedValue,
    kv_changes,
    kv_compare_and_set,
    kv_delete,
    kv_get,
    kv_get_with_version,
    kv_page,
    kv_put,
    kv_range,
    kv_version,
    kv_watch,
)
from cluster.clients.lock_operations import (
    Holder,
    Place,
    lock_acquire,
    lock_give_up,
    lock_granted,
    lock_holder,
    lock_release,
    lock_renew,
    lock_resume,
    lock_try,
)
from cluster.clients.lock_queue import lock_wait
from cluster.clients.operation import Operation, session_close

__all__ = [
    "ASSIGNMENT",
    "MEMBERS",
    "Holder",
    "KeyChange",
    "KeyChanges",
    "KeyEntry",
    "KeyPage",
    "Operation",
    "Place",
    "Share",
    "TaskOwner",
    "TaskOwners",
    "VersionedValue",
    "View",
    "configuration_add",
    "configuration_hand_over",
    "configuration_list",
    "configuration_remove",
    "kv_changes",
    "kv_compare_and_set",
    "kv_delete",
    "kv_get",
    "kv_get_with_version",
    "kv_page",
    "kv_put",
    "kv_range",
    "kv_version",
    "kv_watch",
    "lock_acquire",
    "lock_give_up",
    "lock_granted",
    "lock_holder",
    "lock_release",
    "lock_renew",
    "lock_resume",
    "lock_try",
    "lock_wait",
    "session_close",
    "task_add",
    "task_mine",
    "task_owners",
    "task_remove",
]
