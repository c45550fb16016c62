"""The statements a language model writes most for competition problems; the zygote runs them once.

Running them loads what sympy and numpy load on first use, and fills caches that every program then shares.
"""

from __future__ import annotations

from typing import Final

EXERCISE: Final = """
from fractions import Fraction
import numpy as np
from sympy import *
from sympy.ntheory.modular import crt
x, y, z, n, k = symbols("x y z n k")
a, b = symbols("a b", positive=True)
f = Function("f")
str([solve(x**2 - 5*x + 6, x), solve(x**2 + x + 1), solve(x**3 - 2*x + 1, x), solve(sqrt(x + 1) - 3, x)])
str([solve(Eq(2**x, 8), x), solve(sin(x) - S.Half, x), solve(x**2 + y**2 - 25, y), solve(a*x + b, x)])
str([solve([x + y - 3, x - y - 1], [x, y]), solve([x*y - 6, x + y - 5], [x, y]), solve(1/x + 1/2 - 1, x)])
str([solveset(x**2 - 4, x, S.Reals), linsolve([x + y - 2, x - y], x, y), nsolve(cos(x) - x, 1)])
str([solve_univariate_inequality(x**2 - 4 < 0, x), diophantine(x**2 - 5*y**2 - 1), Abs(x - 1).subs(x, -2)])
str([simplify((x**2 - 1)/(x - 1)), simplify(sin(x)**2 + cos(x)**2)])
str([simplify(sqrt(8)*a/sqrt(2)), factor(x**4 - 1)])
str([expand((x + 1)**5), cancel((x**2 - 1)/(x - 1))])
str([apart(1/(x*(x + 1))), together(1/x + 1/y), expand_log(log(a*b))])
str([trigsimp(2*sin(x)*cos(x)), radsimp(1/(sqrt(2) + 1)), nsimplify(0.5), sqrtdenest(sqrt(3 + 2*sqrt(2)))])
str([integrate(x**2*exp(x), x), integrate(1/(1 + x**2), (x, 0, 1))])
str([integrate(sin(x)**2, (x, 0, pi)), diff(x**x, x)])
str([integrate(x**3*sin(x), x), integrate(1/(x**2 + 3*x + 2), x)])
str([limit(sin(x)/x, x, 0), limit((1 + 1/n)**n, n, oo), series(exp(x), x, 0, 5), summation(k**2, (k, 1, n))])
str([summation(1/k**2, (k, 1, oo)), summation(2**k, (k, 0, 10)), product(k, (k, 1, 5)), minimum(x**2, x)])
str([isprime(97), factorint(360), divisors(60), totient(36)])
str([list(primerange(2, 50)), nextprime(100), prime(10)])
str([gcd(12, 18), lcm(4, 6), mod_inverse(3, 7), crt([3, 5], [2, 3])])
str([binomial(10, 3), factorial(6), fibonacci(10)])
str([Rational(1, 3) + Rational(1, 6), sqrt(8), pi.evalf(20), N(E, 10), log(8, 2), Abs(-3), floor(pi), I**2])
str([Matrix([[1, 2], [3, 4]]).det(), Matrix([[2, 0], [1, 3]]).eigenvals(), Matrix([[1, 2], [3, 4]]).inv()])
str([Matrix([[1, 2], [2, 4]]).rref(), Matrix([[1, 2], [3, 4]])**2, eye(2).eigenvects()])
str([Point(0, 0).distance(Point(3, 4))])
str([Triangle(Point(0, 0), Point(4, 0), Point(0, 3)).area, Circle((0, 0), 2).area])
str([Line((0, 0), (1, 1)).intersection(Line((0, 2), (2, 0))), Polygon((0, 0), (2, 0), (2, 2), (0, 2)).area])
str([Poly(x**3 - 6*x**2 + 11*x - 6).all_roots(), roots(x**3 - 1, x)])
str([resultant(x**2 - 1, x - 1, x), div(x**3, x - 1)])
str([rsolve(f(n) - 2*f(n - 1), f(n)), dsolve(f(x).diff(x) - f(x))])
str([lambdify(x, x**2 + 1)(3), Poly(x**2, x).coeffs()])
str([Interval(0, 1).intersect(Interval(S.Half, 2))])
str([Piecewise((x, x > 0), (0, True)).subs(x, 1), FiniteSet(1, 2)])
str([latex(sqrt(x)/2), pretty(x/2), sympify("x**2 + 1/2")])
str([(x**2 - 2).subs(x, sqrt(2)), float(sqrt(2)), Eq(x, 1)])
print(x, Rational(1, 2), sqrt(2), [pi, E], {x: 1}, Matrix([1, 2]), Fraction(1, 3))
A = np.array([[2.0, 1.0], [1.0, 3.0]])
str([np.linalg.solve(A, np.array([1.0, 2.0])), np.linalg.det(A)])
str([np.linalg.eigvals(A), np.roots([1, -3, 2]), np.gcd(12, 18)])
str([np.random.rand(2), np.random.default_rng(0).integers(5)])
str([np.polyfit([0, 1, 2], [0, 1, 4], 2), np.arange(10).sum()])
print(A, A.mean())
"""
