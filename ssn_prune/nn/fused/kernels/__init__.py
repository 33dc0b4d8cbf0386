"""Kernels in Triton: N samples, C channels, M positions; capitals are known when they compile.

In the order of a step: :mod:`planes` reduces x, :mod:`pooling` with :mod:`gates` makes statistics
of that, :mod:`mixture` the output; :mod:`planes` reduces the gradient, :mod:`gradient_pooling` and
:mod:`input_gradient` pass it on. :mod:`constants` serves a compiler.
"""
