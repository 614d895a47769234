"""RabbitMQ behind the broker port."""

from broker.rabbitmq.client import RabbitMQBroker

__all__ = ["RabbitMQBroker"]
