"""Cairn: an E(3)-equivariant message-passing potential of Cartesian tensors, in plain PyTorch.

Each atom carries scalars, vectors and symmetric traceless matrices. A layer (1) sums messages from the neighbors,
each weighted by learned functions of the distance, into one tensor of every rank; (2) multiplies these sums with
each other, which correlates three or more bodies at the price of a product per atom, as in the atomic cluster
expansion (R. Drautz, Phys. Rev. B 99, 014104 (2019)); (3) feeds the invariants to a small network that updates the
scalars and gates the tensors. Cartesian instead of spherical tensors: up to rank 2 all products are a few lines of
arithmetic that a compiler fuses (compare G. Simeon and G. De Fabritiis, TensorNet, NeurIPS 2023).

Radial functions are spherical Bessel functions with a polynomial envelope whose value, slope and curvature vanish
at the cutoff (J. Gasteiger, J. Groß, S. Günnemann, Directional message passing, ICLR 2020, eqs. 7 and 8).

Promise: the output is invariant under rotation, reflection, translation and permutation, smooth at the cutoff, and
independent of padding. Needs: neighbor vectors in Å in the padded layout of `milepost.atoms.neighbors`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from milepost.atoms.cairn.options import CairnModelOptions
from milepost.atoms.cairn.tensors import (
    couple,
    matrix_times_vector,
    traceless_matrix_product,
    traceless_outer_product,
)
from milepost.atoms.messages import gather_neighbors

ENVELOPE_POWER = 6
"""Power p of the envelope polynomial: the value that Gasteiger et al. use."""


class Radial(nn.Module):
    """Expand distances in Bessel functions under a smooth envelope.

    Shapes: vectors [atoms, slots, 3] in Å → directions [atoms, slots, 3], radial [atoms, slots, functions]. The last
    function is the envelope itself, so that a constant filter is within reach.
    """

    frequencies: Tensor

    def __init__(self, cutoff: float, functions: int, average_neighbors: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.scale = 1.0 / math.sqrt(average_neighbors)
        self.power = float(ENVELOPE_POWER)
        frequencies = torch.arange(1, functions, dtype=torch.get_default_dtype()) * (math.pi / cutoff)
        self.register_buffer("frequencies", frequencies)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Expand the lengths of the vectors."""
        distance = (vectors * vectors).sum(-1, keepdim=True).sqrt()
        x = distance / self.cutoff
        p = self.power
        x_p = x * x * x * x * x * x
        envelope = (
            1.0 - ((p + 1.0) * (p + 2.0) / 2.0) * x_p + (p * (p + 2.0)) * x_p * x - (p * (p + 1.0) / 2.0) * x_p * x * x
        )
        envelope = torch.where(x < 1.0, envelope, torch.zeros_like(envelope))
        bessel = math.sqrt(2.0 / self.cutoff) * torch.sin(distance * self.frequencies) / distance
        return vectors / distance, torch.cat([bessel * envelope, envelope], -1) * self.scale


class Geometry(nn.Module):
    """Compute, once for all layers, how tensors couple with the direction of each pair.

    Shapes: unit vectors [atoms, slots, 3] → `spread` [atoms, 9, slots], the direction's own tensors of rank 0, 1 and 2;
    `to_vector` [atoms, slots, 6, 3] takes a vector to its part along the direction and to a matrix; `to_matrix`
    [atoms, slots, 4, 5] takes a matrix to its part along the direction and to a vector.
    """

    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        dtype = torch.get_default_dtype()
        self.register_buffer("basis", matrix_times_vector().to(dtype))

    def forward(self, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the couplings of every pair."""
        atoms, slots = unit.shape[0], unit.shape[1]
        bent = torch.matmul(unit, self.basis).view(atoms, slots, 5, 3)
        quadrupole = torch.matmul(bent, unit.unsqueeze(-1))
        ones = torch.ones_like(unit[:, :, :1])
        spread = torch.cat([ones, unit, quadrupole.squeeze(-1)], -1).transpose(1, 2)
        to_vector = torch.cat([unit.unsqueeze(2), bent], 2)
        to_matrix = torch.cat([quadrupole.transpose(2, 3), bent.transpose(2, 3)], 2)
        return spread, to_vector, to_matrix


class FirstMessages(nn.Module):
    """Sum scalar features of neighbors into one tensor of each rank."""

    def __init__(self, features: int, functions: int) -> None:
        super().__init__()
        self.features = features
        self.scalars = nn.Linear(features, features, bias=False)
        self.radial = nn.Linear(functions, 3 * features, bias=False)
        nn.init.normal_(self.radial.weight, std=1.0 / math.sqrt(functions))

    def forward(
        self, s: Tensor, spread: Tensor, radial: Tensor, neighbors: Tensor, reverse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sum the messages of scalars [atoms, F] into tensors of rank 0, 1 and 2."""
        sent = gather_neighbors(self.scalars(s), neighbors, reverse)
        filtered = (self.radial(radial).unflatten(-1, (3, self.features)) * sent.unsqueeze(2)).unbind(2)
        rank0 = filtered[0].sum(1)
        rank1 = torch.matmul(spread[:, 1:4], filtered[1])
        rank2 = torch.matmul(spread[:, 4:9], filtered[2])
        return rank0, rank1, rank2


class TensorMessages(nn.Module):
    """Sum scalars, vectors and matrices of neighbors, coupled with the direction, into one tensor of each rank."""

    def __init__(self, features: int, functions: int) -> None:
        super().__init__()
        self.features = features
        self.first = FirstMessages(features, functions)
        self.vectors = nn.Linear(features, features, bias=False)
        self.matrices = nn.Linear(features, features, bias=False)
        self.radial = nn.Linear(functions, 7 * features, bias=False)
        nn.init.normal_(self.radial.weight, std=1.0 / math.sqrt(functions))

    def forward(
        self,
        s: Tensor,
        v: Tensor,
        t: Tensor,
        geometry: tuple[Tensor, Tensor, Tensor],
        radial: Tensor,
        neighbors: Tensor,
        reverse: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sum the messages of tensors of every rank into tensors of rank 0, 1 and 2."""
        spread, to_vector, to_matrix = geometry
        rank0, rank1, rank2 = self.first(s, spread, radial, neighbors, reverse)
        w = self.radial(radial).unflatten(-1, (7, self.features)).unsqueeze(3).unbind(2)
        v_j = gather_neighbors(self.vectors(v), neighbors, reverse)
        t_j = gather_neighbors(self.matrices(t), neighbors, reverse)
        from_v = torch.matmul(to_vector, v_j)
        from_t = torch.matmul(to_matrix, t_j)
        along, bent = from_v[:, :, :1], from_v[:, :, 1:]
        twice, pulled = from_t[:, :, :1], from_t[:, :, 1:]
        rank0 = rank0 + (w[0] * along + w[1] * twice).sum(1).squeeze(1)
        rank1 = rank1 + (w[2] * v_j + w[3] * pulled).sum(1)
        rank1 = rank1 + torch.matmul(spread[:, 1:4], (w[4] * along).squeeze(2))
        rank2 = rank2 + (w[5] * bent + w[6] * t_j).sum(1)
        return rank0, rank1, rank2


class Products(nn.Module):
    """Multiply the summed tensors of an atom with each other and collect the invariants."""

    matrix_vector: Tensor
    matrix_matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.vectors = nn.Linear(features, 2 * features, bias=False)
        self.matrices = nn.Linear(features, 2 * features, bias=False)
        dtype = torch.get_default_dtype()
        self.register_buffer("matrix_vector", matrix_times_vector().to(dtype))
        self.register_buffer("matrix_matrix", traceless_matrix_product().to(dtype))

    def forward(
        self, s: Tensor, rank0: Tensor, rank1: Tensor, rank2: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the invariants [atoms, 6 F], and the tensors that the next layer is gated from."""
        v, v_other = self.vectors(rank1).split(self.features, -1)
        t, t_other = self.matrices(rank2).split(self.features, -1)
        turned = couple(t, v, self.matrix_vector)
        squared = couple(t, t_other, self.matrix_matrix)
        invariants = torch.cat(
            [
                s,
                rank0,
                (v * v_other).sum(1),
                (t * t_other).sum(1),
                (turned * v_other).sum(1),
                (squared * t_other).sum(1),
            ],
            -1,
        )
        return invariants, v, v_other, t, turned, squared


class InnerLayer(nn.Module):
    """Update scalars and pass vectors and matrices on to the next layer."""

    outer: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.products = Products(features)
        self.hidden = nn.Linear(6 * features, features)
        self.gates = nn.Linear(features, 6 * features)
        self.vectors = nn.Linear(features, features, bias=False)
        self.matrices = nn.Linear(features, features, bias=False)
        self.register_buffer("outer", traceless_outer_product().to(torch.get_default_dtype()))

    def forward(self, s: Tensor, rank0: Tensor, rank1: Tensor, rank2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return new scalars, vectors and matrices."""
        invariants, v, v_other, t, turned, squared = self.products(s, rank0, rank1, rank2)
        g = self.gates(functional.silu(self.hidden(invariants))).split(self.features, -1)
        vectors = self.vectors(g[1].unsqueeze(1) * v + g[2].unsqueeze(1) * turned)
        matrices = self.matrices(
            g[3].unsqueeze(1) * t + g[4].unsqueeze(1) * squared + g[5].unsqueeze(1) * couple(v, v_other, self.outer)
        )
        return s + g[0], vectors, matrices


class LastLayer(nn.Module):
    """Update the scalars only: nothing reads tensors after it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.products = Products(features)
        self.hidden = nn.Linear(6 * features, features)
        self.update = nn.Linear(features, features)

    def forward(self, s: Tensor, rank0: Tensor, rank1: Tensor, rank2: Tensor) -> Tensor:
        """Return new scalars."""
        invariants = self.products(s, rank0, rank1, rank2)[0]
        return s + self.update(functional.silu(self.hidden(invariants)))


class Cairn(nn.Module):
    """Predict one number per atom, to be scaled to an energy, from its surroundings.

    Shapes: vectors [atoms, slots, 3] from the atom to its neighbor in Å; neighbors and reverse [atoms, slots] and
    species [atoms], integers → [atoms]. Vectors as long as the cutoff or longer contribute nothing, whatever their
    slot says; none may have length zero.
    """

    def __init__(
        self,
        *,
        species: int,
        cutoff: float,
        features: int,
        layers: int,
        radial_functions: int,
        average_neighbors: float,
    ) -> None:
        super().__init__()
        self.radial = Radial(cutoff, radial_functions, average_neighbors)
        self.geometry = Geometry()
        self.embedding = nn.Parameter(torch.randn(species, features))
        self.first_messages = FirstMessages(features, radial_functions)
        self.messages = nn.ModuleList(TensorMessages(features, radial_functions) for _ in range(layers - 1))
        self.inner = nn.ModuleList(InnerLayer(features) for _ in range(layers - 1))
        self.last = LastLayer(features)
        self.hidden = nn.Linear(features, features)
        self.output = nn.Linear(features, 1)

    def forward(self, vectors: Tensor, neighbors: Tensor, reverse: Tensor, species: Tensor) -> Tensor:
        """Predict one number per atom."""
        unit, radial = self.radial(vectors)
        geometry = self.geometry(unit)
        s = self.embedding.index_select(0, species)
        sums = self.first_messages(s, geometry[0], radial, neighbors, reverse)
        for layer, messages in zip(self.inner, self.messages):  # noqa: B905 - TorchScript knows no strict=
            s, v, t = layer(s, sums[0], sums[1], sums[2])
            sums = messages(s, v, t, geometry, radial, neighbors, reverse)
        s = self.last(s, sums[0], sums[1], sums[2])
        return self.output(functional.silu(self.hidden(s))).squeeze(-1)


def build(options: CairnModelOptions, *, species: int, average_neighbors: float) -> Cairn:
    """Make a network from options and from what the data fixes: the number of species, neighbors per atom."""
    return Cairn(
        species=species,
        cutoff=options.cutoff,
        features=options.features,
        layers=options.layers,
        radial_functions=options.radial_functions,
        average_neighbors=average_neighbors,
    )
