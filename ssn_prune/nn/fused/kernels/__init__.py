"""Triton kernels: N samples, C channels, M positions; other capitals are compile-time constants.

In the order of a step: :mod:`planes` reduces x, :mod:`pooling` with :mod:`gates` turns the result
into statistics, and :mod:`mixture` computes the output; :mod:`planes` reduces the gradient, and
:mod:`gradient_pooling` and :mod:`input_gradient` pass it on. :mod:`constants` serves a compiler.
"""
