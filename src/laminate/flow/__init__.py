"""Flow matching: paths, times, losses, solvers and guidance, as functions of any velocity.

Time runs from 0 (noise) to 1 (data). A state is an array or a tree of arrays of one example.
"""

from laminate.flow.adaptive import solve_adaptive as solve_adaptive
from laminate.flow.affine import STRAIGHT as STRAIGHT
from laminate.flow.affine import AffinePath as AffinePath
from laminate.flow.affine import Straight as Straight
from laminate.flow.affine import Trigonometric as Trigonometric
from laminate.flow.affine import VariancePreserving as VariancePreserving
from laminate.flow.grid import TimeGrid as TimeGrid
from laminate.flow.grid import time_grid as time_grid
from laminate.flow.guidance import Interval as Interval
from laminate.flow.guidance import autoguidance as autoguidance
from laminate.flow.guidance import classifier_free_guidance as classifier_free_guidance
from laminate.flow.guidance import drop_label as drop_label
from laminate.flow.losses import cosine_distance as cosine_distance
from laminate.flow.losses import flow_matching_loss as flow_matching_loss
from laminate.flow.losses import likelihood_weight as likelihood_weight
from laminate.flow.losses import noise_matching_loss as noise_matching_loss
from laminate.flow.losses import score_matching_loss as score_matching_loss
from laminate.flow.losses import velocity_weight as velocity_weight
from laminate.flow.path import Path as Path
from laminate.flow.path import State as State
from laminate.flow.path import Velocity as Velocity
from laminate.flow.runge_kutta import EULER as EULER
from laminate.flow.runge_kutta import HEUN as HEUN
from laminate.flow.runge_kutta import HEUN2 as HEUN2
from laminate.flow.runge_kutta import HEUN3 as HEUN3
from laminate.flow.runge_kutta import MIDPOINT as MIDPOINT
from laminate.flow.runge_kutta import RK4 as RK4
from laminate.flow.runge_kutta import RK4_38 as RK4_38
from laminate.flow.runge_kutta import RungeKutta as RungeKutta
from laminate.flow.sde import DiffusionForm as DiffusionForm
from laminate.flow.sde import EulerMaruyama as EulerMaruyama
from laminate.flow.sde import LastStep as LastStep
from laminate.flow.sde import diffusion as diffusion
from laminate.flow.sde import gaussian_draws as gaussian_draws
from laminate.flow.sde import last_step as last_step
from laminate.flow.solver import Solution as Solution
from laminate.flow.solver import Solver as Solver
from laminate.flow.solver import SolverState as SolverState
from laminate.flow.solver import solve as solve
from laminate.flow.sphere import EulerProject as EulerProject
from laminate.flow.sphere import ExpMap as ExpMap
from laminate.flow.sphere import Sphere as Sphere
from laminate.flow.sphere import expected_norm as expected_norm
from laminate.flow.times import dimension_shift as dimension_shift
from laminate.flow.times import draw_time as draw_time
from laminate.flow.times import logit_normal as logit_normal
from laminate.flow.times import shift_time as shift_time
from laminate.flow.times import uniform as uniform
from laminate.flow.unipc import UniPc as UniPc
from laminate.flow.unipc import unipc_grid as unipc_grid
from laminate.flow.unipc import unipc_sigmas as unipc_sigmas
