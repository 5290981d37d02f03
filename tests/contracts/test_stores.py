"""Every store of ours against the contract."""

from tertulia.testing.store_contract import StoreContract


class TestStores(StoreContract):
    """The fixture ``store`` is there once for every kind of store."""
