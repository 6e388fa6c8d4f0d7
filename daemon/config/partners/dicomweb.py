"""The section `dicomweb`: the programs that may store films here by HTTP, or fetch what is kept."""

import ipaddress
from collections.abc import Iterator
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from daemon.config.fields import (
    Fingerprint,
    Section,
    SourceName,
    Token,
    below,
    checked_source,
)
from daemon.config.peers import PeerPriority, RulesConfig
from daemon.config.sections.web import Name, Network


class Reads(StrEnum):
    """The sources that a client may read, where `reads` lists none."""

    OWN = "own"


def _checked_reads(value: object) -> object:
    """Return `own`, None or a tuple of distinct source names. Raises ValueError."""
    if value is None or value == Reads.OWN:
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(item, str) for item in value):
        return tuple(dict.fromkeys(checked_source(item) for item in value))
    raise ValueError("must be own, or a list of sources such as [north, south]")


def _checked_host(value: str) -> str:
    try:
        network = ipaddress.ip_network(value.strip())
    except ValueError:
        raise ValueError(
            "must be an address or a network, such as 192.0.2.7 or 10.1.0.0/16, without bits after"
            " its prefix"
        ) from None
    if network.prefixlen == 0:
        raise ValueError(f"{network} is every host: leave hosts out, and set a token")
    return str(network)


ClientHost = Annotated[str, AfterValidator(_checked_host)]


class DicomwebClientConfig(Section):
    """A program that stores films by STOW-RS, reads by QIDO-RS and WADO-RS, or both.

    A request is this client's if it carries the token or the certificate, and comes from one of
    `hosts`; an empty `hosts` is any host. A client that only stores may be known by `hosts` alone.
    """

    name: Name
    token: Token | None = None
    token_file: Path | None = None
    certificate_sha256: tuple[Fingerprint, ...] = ()
    hosts: tuple[ClientHost, ...] = ()
    stores: bool = False
    reads: Annotated[Reads | tuple[str, ...] | None, BeforeValidator(_checked_reads)] = None
    source: SourceName | None = None
    priority: PeerPriority | None = None
    rules: RulesConfig = RulesConfig()

    @model_validator(mode="after")
    def _is_known_by_something(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise ValueError(f"client {self.name!r}: set token or token_file, not both")
        if not self.stores and self.reads is None:
            raise ValueError(f"client {self.name!r} neither stores nor reads: set one of the two")
        if not self.has_secret and not self.hosts:
            raise ValueError(
                f"client {self.name!r} could be anyone: set token, token_file, certificate_sha256"
                " or hosts"
            )
        if not self.has_secret and self.reads is not None:
            raise ValueError(
                f"client {self.name!r} reads, so an address alone does not identify it: set token,"
                " token_file or certificate_sha256"
            )
        return self

    @model_validator(mode="after")
    def _has_what_it_uses(self) -> Self:
        if not self.stores:
            for key in ("priority", "rules"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"client {self.name!r} has {key}, but stores no films")
        if self.source is None and (self.stores or self.reads is Reads.OWN):
            try:
                checked_source(self.name)
            except ValueError as error:
                raise ValueError(
                    f"client {self.name!r}: its name cannot be its source ({error}): set source"
                ) from None
        return self

    @property
    def has_secret(self) -> bool:
        """True if the client proves itself by a token or a certificate."""
        return self.has_token or bool(self.certificate_sha256)

    @property
    def has_token(self) -> bool:
        """True if the client has a token."""
        return self.token is not None or self.token_file is not None

    @property
    def sends(self) -> bool:
        """True if the client stores films, as a peer that sends does."""
        return self.stores

    @property
    def sender_name(self) -> str:
        """The name of the sender of its films: the client's, where a peer has its AE title."""
        return self.name

    @property
    def receives(self) -> tuple[()]:
        """Empty: a client fetches results, and this node sends it none."""
        return ()

    @property
    def results_of(self) -> None:
        """None, as for each sender without results."""
        return

    @property
    def effective_source(self) -> str:
        """The source of the films that the client stores: `source`, or the client's name."""
        return self.source if self.source is not None else self.name

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that the client may read."""
        if self.reads is Reads.OWN:
            return (self.effective_source,)
        return self.reads or ()

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks of `hosts`."""
        return tuple(ipaddress.ip_network(each) for each in self.hosts)


class DicomwebConfig(Section):
    """The DICOMweb service of the web role; without clients there is none.

    `ca` is a PEM file with the CA of the certificates that clients show, or with the certificates
    themselves.
    """

    clients: tuple[DicomwebClientConfig, ...] = ()
    ca: Path | None = None

    @model_validator(mode="after")
    def _clients_differ(self) -> Self:
        for first, second in combinations(self.clients, 2):
            if first.name == second.name:
                raise ValueError(f"two clients are called {first.name!r}; names must differ")
            for digest in set(first.certificate_sha256) & set(second.certificate_sha256):
                raise ValueError(
                    f"clients {first.name!r} and {second.name!r} have the same certificate"
                    f" ({digest[:16]}…)"
                )
            if not first.has_secret and not second.has_secret and _overlap(first, second):
                raise ValueError(
                    f"clients {first.name!r} and {second.name!r} have hosts in common and no token:"
                    " give one of them a token"
                )
        return self

    @model_validator(mode="after")
    def _certificates_can_be_checked(self) -> Self:
        shown = [client.name for client in self.clients if client.certificate_sha256]
        if shown and self.ca is None:
            raise ValueError(
                f"client {shown[0]!r} has certificate_sha256: set dicomweb.ca to its CA, or to the"
                " certificate itself"
            )
        if self.ca is not None and not shown:
            raise ValueError("ca is set, but no client has certificate_sha256")
        return self

    @property
    def storing(self) -> tuple[DicomwebClientConfig, ...]:
        """The clients that may store films."""
        return tuple(client for client in self.clients if client.stores)

    @property
    def token_files(self) -> Iterator[Path]:
        """The files of the tokens."""
        return (each.token_file for each in self.clients if each.token_file is not None)

    def resolved(self, base: Path) -> Self:
        """Return a copy with absolute paths."""
        clients = tuple(
            each.model_copy(update={"token_file": below(base, each.token_file)})
            if each.token_file is not None
            else each
            for each in self.clients
        )
        ca = below(base, self.ca) if self.ca is not None else None
        return self.model_copy(update={"clients": clients, "ca": ca})


def _overlap(first: DicomwebClientConfig, second: DicomwebClientConfig) -> bool:
    return any(
        one.version == other.version and one.overlaps(other)
        for one in first.networks
        for other in second.networks
    )
